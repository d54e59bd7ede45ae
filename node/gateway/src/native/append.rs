//! `Streams.Append`: decodes an append and sends the append to the leader of the store until the outcome is known. The
//! leader is the replica of this node or a peer. An attempt is repeated only after proof that no earlier attempt was
//! proposed; without proof, the append ends as `OUTCOME_UNKNOWN`.

use crate::{
    Origin, Shared,
    call::{Call, call},
    decode, encode,
    forward::{self, Original},
    status::{Problem, Proof, Reason, proof},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::{
    append::{Append, Appended},
    event::NewEvent,
    ids::NodeId,
};
use taffrail_proto::{error_detail, v1};
use taffrail_runtime as rt;
use taffrail_store_api::{AppendError, Route, StoreRef, StoreReplica};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Path of the call at a peer.
const APPEND: &str = "/taffrail.v1.Streams/Append";

/// Handles a call of `Streams.Append`.
///
/// # Errors
/// When the request breaks a rule, and every outcome of the append other than success.
pub(super) async fn append(
    shared: &Shared,
    request: Request<v1::AppendRequest>,
) -> Result<Response<v1::AppendResponse>, Status> {
    let call = call(shared, &request)?;
    let original = Original::of(request.get_ref());
    let append = match decode::append(&shared.config, request.into_inner()) {
        Ok(append) => append,
        Err(problem) => {
            count_invalid(shared, &call, &problem).await;
            return Err(problem.into());
        }
    };
    append_with_retry(shared, &call, &append, &original).await.map(Response::new)
}

/// Counts an append that [`decode`] refused. The leader counts its own refusals and never sees such an append.
async fn count_invalid(shared: &Shared, call: &Call, problem: &Problem) {
    // The deadline is now: only the applied catalogue of this node is read. A store missing from the catalogue gets no
    // label.
    if let Ok(store) = shared.node.resolve(&call.store, Instant::now()).await {
        shared.metrics.reject(&store.name.to_string(), problem.reason().as_str());
    }
}

/// Repeats the attempts of an append until the outcome is known or the deadline passes.
async fn append_with_retry(
    shared: &Shared,
    call: &Call,
    append: &Append,
    original: &Original,
) -> Result<v1::AppendResponse, Status> {
    let mut attempts = Attempts { shared, call, append, original, hint: None, failed: 0 };
    let mut last = None;
    while Instant::now() < call.deadline {
        match attempts.attempt().await {
            Ok(response) => return Ok(response),
            Err(Failed::Final(status)) => return Err(status),
            Err(Failed::NotProposed(problem)) => last = Some(problem),
        }
        attempts.pause().await;
    }
    Err(last.unwrap_or_else(|| Problem::new(Reason::Deadline, "the deadline passed before the append was sent")).into())
}

/// The attempts of an append.
struct Attempts<'a> {
    shared: &'a Shared,
    call: &'a Call,
    append: &'a Append,
    /// The request of the client, for peers.
    original: &'a Original,
    /// The leader named by the last refusal of a follower, consumed by the next attempt on a peer.
    hint: Option<NodeId>,
    /// Number of failed attempts.
    failed: usize,
}

/// Result of a failed attempt.
enum Failed {
    /// The outcome of the append is known, or must be reported as unknown.
    Final(Status),
    /// The append provably was not proposed; another attempt is safe.
    NotProposed(Problem),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Final(problem.into())
    }
}

impl Attempts<'_> {
    async fn attempt(&mut self) -> Result<v1::AppendResponse, Failed> {
        let store = self.shared.node.resolve(&self.call.store, self.call.deadline).await.map_err(Problem::from)?;
        match self.shared.node.route_write(&store) {
            Route::Local(replica) => self.append_locally(&store, &*replica).await,
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Err(Problem::from(AppendError::NotLeader(None)).with_leader(self.leader(&store)).into())
            }
            Route::Remote(nodes) => {
                let node = self.hint.take().or_else(|| nodes.get(self.failed % nodes.len().max(1)).copied());
                self.append_on_peer(&store, node).await
            }
        }
    }

    async fn append_locally(
        &mut self,
        store: &StoreRef,
        replica: &dyn StoreReplica,
    ) -> Result<v1::AppendResponse, Failed> {
        match self.propose(replica).await {
            Ok(appended) => {
                self.count_appended(store, appended.repeated);
                Ok(encode::appended(&appended))
            }
            Err(AppendError::NotLeader(to)) if self.shared.origin == Origin::Client => {
                self.hint = to.map(|hint| hint.node);
                let problem = Problem::from(AppendError::NotLeader(to)).with_leader(self.leader(store));
                Err(Failed::NotProposed(problem))
            }
            // The replica may have moved to another node.
            Err(e @ AppendError::NotServing(_)) if self.shared.origin == Origin::Client => {
                Err(Failed::NotProposed(Problem::from(e).with_leader(self.leader(store))))
            }
            Err(e) => {
                let refused =
                    matches!(e, AppendError::Rejected(_) | AppendError::Overloaded | AppendError::StorageLow(_));
                let problem = match e {
                    AppendError::Rejected(_) => Problem::from(e),
                    e @ (AppendError::NotLeader(_)
                    | AppendError::Overloaded
                    | AppendError::StorageLow(_)
                    | AppendError::DeadlineBeforeProposal
                    | AppendError::Unknown(_)
                    | AppendError::NotServing(_)) => Problem::from(e).with_leader(self.leader(store)),
                };
                if refused {
                    self.shared.metrics.reject(&store.name.to_string(), problem.reason().as_str());
                }
                Err(problem.into())
            }
        }
    }

    async fn propose(&self, replica: &dyn StoreReplica) -> Result<Appended, AppendError> {
        // A follower passes the append on, and the disk of the leader counts.
        if replica.is_leader()
            && let Some(low) = self.shared.node.storage_low()
        {
            return Err(AppendError::StorageLow(low));
        }
        self.call.maybe_proposed.begin();
        let memory = Arc::clone(&self.call.memory);
        let outcome = replica.append(self.append.clone(), memory, self.call.deadline).await;
        if !matches!(outcome, Ok(_) | Err(AppendError::Unknown(_))) {
            self.call.maybe_proposed.rule_out();
        }
        outcome
    }

    fn count_appended(&self, store: &StoreRef, repeated: bool) {
        if repeated {
            return;
        }
        let (metrics, events) = (&self.shared.metrics, &self.append.events);
        let label = metrics.store_label(&store.name.to_string());
        metrics.appended_events.with_label_values(&[&label]).inc_by(events.len() as u64);
        let bytes: usize = events.iter().map(NewEvent::size).sum();
        metrics.appended_bytes.with_label_values(&[&label]).inc_by(bytes as u64);
    }

    async fn append_on_peer(&mut self, store: &StoreRef, node: Option<NodeId>) -> Result<v1::AppendResponse, Failed> {
        let leader = self.leader(store);
        let unreachable =
            |why: &str| Failed::NotProposed(Problem::new(Reason::NoLeader, why).with_leader(leader.clone()));
        let node = node.ok_or_else(|| unreachable("the store has no replica"))?;
        let channel =
            self.shared.node.peer_channel(node).ok_or_else(|| unreachable("the leader's node is not connected"))?;
        let message = self.original.bytes();
        let request = forward::request(message, &store.name, &self.call.request_id, Some(self.call.deadline));
        self.call.maybe_proposed.begin();
        let status = match forward::unary::<v1::AppendResponse>(channel, APPEND, request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        match proof(&status) {
            Proof::Final => Err(Failed::Final(status)),
            Proof::NotProposed => {
                self.call.maybe_proposed.rule_out();
                let named = error_detail::find(status.details()).and_then(|detail| detail.leader);
                self.hint = named.as_ref().map(|leader| NodeId::new(leader.node_id));
                let problem = Problem::new(Reason::NoLeader, status.message());
                Err(Failed::NotProposed(problem.with_leader(leader).with_leader(named)))
            }
            Proof::Unknown => Err(Problem::from(AppendError::Unknown("the connection to the leader broke")).into()),
        }
    }

    /// Returns the hint to the leader of the store, if this node knows the leader.
    fn leader(&self, store: &StoreRef) -> Option<v1::LeaderHint> {
        store.leader.map(|hint| encode::leader(hint, self.shared.node.client_address(hint.node)))
    }

    /// Counts a failed attempt and waits before the next attempt: 2.5 to 7.5 ms after the first failure, 50 to 150 ms
    /// from the twentieth failure on.
    async fn pause(&mut self) {
        self.failed += 1;
        let pause = Duration::from_millis(5 * (self.failed as u64).min(20));
        tokio::time::sleep_until(self.call.deadline.min(Instant::now() + pause / 2 + rt::jitter(pause))).await;
    }
}
