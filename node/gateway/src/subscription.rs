//! [`Subscription`], which delivers the stored events of a store and then each new event.
//!
//! Every event comes from the applied state of a replica, page by page; at the end of the state the subscription waits
//! for the next applied batch. Catching up and live delivery are therefore the same read, and no event is missed or
//! delivered twice between the two. After the loss of a replica or peer, the [`Cursor`] continues on another replica.

use super::{
    Origin, Shared,
    call::{Call, peer_lost, replica_lost, same_store},
    cursor::{Cursor, PAGE},
    encode,
    forward::{self, Original},
    outflow::{Permit, Queued},
    resume::{LINEAGE, TokenOf},
    status::{Problem, Reason},
};
use bytes::Bytes;
use std::{convert::Infallible, sync::Arc, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_proto::v1::{self, subscribe_response::Kind};
use taffrail_runtime as rt;
use taffrail_store_api::{PageBounds, ReadError, ResolveError, Route, StoreReplica};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

/// Path of the call at a peer.
const SUBSCRIBE: &str = "/taffrail.v1.Subscriptions/Subscribe";
/// Number of positions without a matching event before a checkpoint is sent.
const CHECKPOINT_POSITIONS: u64 = 1_000;
/// Pause before the next source, multiplied by the number of sources in a row that delivered nothing.
const PAUSE: Duration = Duration::from_millis(50);
/// Upper bound of the multiplier of [`PAUSE`].
const PAUSES_MAX: u32 = 10;

type Sender = mpsc::Sender<Queued<v1::SubscribeResponse>>;

/// Reason for the end of a source of events.
enum Ended {
    /// The subscriber has left.
    Client,
    /// The replica or peer is lost; another source can continue.
    Source,
    /// The subscription ends with a status.
    Subscription(Status),
}

/// A page of a replica of this node.
struct LocalPage {
    /// Events to deliver.
    events: Vec<v1::RecordedEvent>,
    /// Revision and position of the last event that was read, delivered or hidden.
    examined: Option<(u64, u64)>,
    /// True if the replica has further events.
    more: bool,
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Subscription(problem.into())
    }
}

/// A subscription, from the first source to the final status.
pub(crate) struct Subscription {
    shared: Shared,
    call: Call,
    /// Store of every source, and the selector.
    of: TokenOf,
    cursor: Cursor,
    /// The request of the client, for peers.
    original: Original,
    tx: Sender,
    /// Counts the page in hand.
    permit: Option<Permit>,
    confirmed: bool,
    caught_up: bool,
    /// All events up to this position have been delivered, or belong to other streams.
    examined: u64,
    /// The last position that was sent to the subscriber.
    reported: u64,
    /// Number of sources in a row that delivered nothing.
    failed: u32,
}

impl Subscription {
    /// Creates a subscription to the store of `of` from `cursor` into `tx`; delivery starts with [`run`](Self::run).
    #[must_use]
    pub(crate) fn new(shared: Shared, call: Call, of: TokenOf, cursor: Cursor, original: Original, tx: Sender) -> Self {
        let (confirmed, caught_up, examined, reported, failed) = (false, false, 0, 0, 0);
        let permit = None;
        Self { shared, call, of, cursor, original, tx, permit, confirmed, caught_up, examined, reported, failed }
    }

    /// Delivers until the subscriber leaves, the deadline passes, the node stops, or the store is closed or removed.
    pub(crate) async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        let tx = self.tx.clone();
        let (deadline, deadline_asked) = (self.call.deadline, self.call.deadline_asked);
        let over: Option<Status> = tokio::select! {
            biased;
            () = stopping.cancelled() => {
                Some(Problem::new(Reason::ShuttingDown, "the node is stopping; resume after the last position").into())
            }
            () = tx.closed() => None,
            () = tokio::time::sleep_until(deadline), if deadline_asked => {
                Some(Problem::new(Reason::Deadline, "the deadline of the subscription passed").into())
            }
            status = self.follow() => status,
        };
        let Some(status) = over else { return };
        if self.examined > self.reported {
            // A failed send needs no handling: the subscriber has left.
            drop(self.send_checkpoint().await);
        }
        drop(tx.send((Err(status), None)).await);
    }

    /// Delivers from successive sources until the subscriber leaves or the subscription ends.
    async fn follow(&mut self) -> Option<Status> {
        loop {
            match self.next_source().await {
                Ended::Client => return None,
                Ended::Subscription(status) => return Some(status),
                Ended::Source if self.shared.origin == Origin::Peer => {
                    return Some(Problem::new(Reason::NotServing, "the replica on this node has stopped").into());
                }
                Ended::Source if !self.confirmed && Instant::now() >= self.call.deadline => {
                    let why = "no replica of the store served the subscription within the deadline";
                    return Some(Problem::new(Reason::NotServing, why).into());
                }
                Ended::Source => {
                    self.failed += 1;
                    let pause = PAUSE * self.failed.min(PAUSES_MAX);
                    tracing::debug!(tries = self.failed, "the subscription continues with another source");
                    tokio::time::sleep(pause / 2 + rt::jitter(pause / 2)).await;
                }
            }
        }
    }

    /// Finds a source and delivers until the source ends.
    async fn next_source(&mut self) -> Ended {
        let store = match self.shared.node.resolve(&self.call.store, self.step_deadline()).await {
            Ok(store) => store,
            // A system group without quorum for a moment ends no subscription.
            Err(ResolveError::Unconfirmed(_) | ResolveError::NotServing(_)) => return Ended::Source,
            Err(e @ (ResolveError::NotFound { .. } | ResolveError::Retained(_) | ResolveError::Removing(_))) => {
                return Problem::from(e).into();
            }
        };
        if let Err(problem) = same_store(self.of.store, &store) {
            return problem.into();
        }
        match self.shared.node.route_read(&store) {
            Route::Local(replica) => match self.deliver_locally(&replica).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Problem::new(Reason::NotServing, "this node has no replica of the store").into()
            }
            Route::Remote(nodes) => match self.deliver_from_peer(&nodes).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
        }
    }

    async fn deliver_locally(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<Infallible, Ended> {
        // Watched before the first page is read: a batch applied during the read ends the wait below.
        let mut applied = replica.applied();
        replica.read_index(self.step_deadline()).await.map_err(read_ended)?;
        self.confirm_locally(replica).await?;
        loop {
            let seen = applied.borrow_and_update().position.get();
            let page = self.local_page(replica).await?;
            if page.more && self.caught_up {
                self.caught_up = false;
                self.send_fell_behind(self.examined).await?;
            }
            self.deliver(page.events).await?;
            if let Some((revision, position)) = page.examined {
                self.cursor.advance(revision, position);
                self.examined = self.examined.max(position);
            }
            if page.more {
                self.checkpoint_if_due().await?;
                continue;
            }
            self.examined = self.examined.max(seen);
            self.mark_end().await?;
            // After the last stored event, because a closed store takes no further event.
            if applied.borrow().settings.closed {
                return Err(Problem::new(Reason::StoreClosed, "the store is closed; no event follows").into());
            }
            applied.changed().await.map_err(|_| Ended::Source)?;
        }
    }

    /// Reads the next page of this replica, and takes the permit of the page.
    async fn local_page(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<LocalPage, Ended> {
        let (mut wanted, mut bounds) = (None, None);
        loop {
            let mut permit = self.call.answers.permit(wanted).await?;
            let bytes_max = PAGE.bytes_max.min(*bounds.get_or_insert_with(|| permit.page_bytes()));
            let cursor = self.cursor.clone();
            let read =
                self.shared.readers.run(replica.reader(), move |r| cursor.page(r, PageBounds { bytes_max, ..PAGE }));
            let page = read.await.map_err(read_ended)?;
            let examined = page.events.last().map(|event| (event.revision.get(), event.position.get()));
            let events = encode::page(page.events.into_iter().filter(|event| !self.cursor.hides(event)));
            let bytes = encode::page_len(&events);
            if permit.fit(bytes) {
                self.permit = Some(permit).filter(|_| !events.is_empty());
                return Ok(LocalPage { events, examined, more: page.more });
            }
            wanted = Some(bytes);
        }
    }

    /// Fixes an open end to the state of this replica and confirms the subscription.
    async fn confirm_locally(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<(), Ended> {
        let mut cursor = self.cursor.clone();
        let read = self.shared.readers.run(replica.reader(), move |r| {
            // Read before the open end is fixed: resuming after the confirmed position then misses no event.
            let last = r.totals()?.last_position;
            cursor.resolve_open_end(r)?;
            // A read index precedes, so a later start is beyond the end of the store.
            cursor.check_start(r.totals()?.last_position)?;
            Ok((cursor, last))
        });
        let (cursor, last) = read.await.map_err(read_ended)?;
        self.cursor = cursor;
        self.confirm(last.get(), self.cursor.next()).await
    }

    async fn confirm(&mut self, position: u64, next: Option<u64>) -> Result<(), Ended> {
        if self.confirmed {
            return Ok(());
        }
        self.confirmed = true;
        // Delivery starts at the cursor; the position of the store at the start is later than a resumed start.
        let resume = self.cursor.resume_token(self.of, self.cursor.next(), 0).encode();
        let (store_id, lineage) = (self.of.store.to_string(), LINEAGE);
        self.send(Kind::Confirmed(v1::Confirmed { position, next, store_id, lineage, resume })).await
    }

    /// Reports the end of the stored events once, and the position after many positions without an event.
    async fn mark_end(&mut self) -> Result<(), Ended> {
        if !self.caught_up {
            self.caught_up = true;
            self.send(Kind::CaughtUp(v1::CaughtUp { position: self.examined, resume: self.resume() })).await?;
        }
        self.checkpoint_if_due().await
    }

    /// Reports the position after many positions without an event.
    async fn checkpoint_if_due(&mut self) -> Result<(), Ended> {
        if self.examined >= self.reported + CHECKPOINT_POSITIONS {
            self.reported = self.examined;
            self.send_checkpoint().await?;
        }
        Ok(())
    }

    async fn send_checkpoint(&self) -> Result<(), Ended> {
        self.send(Kind::Checkpoint(v1::Checkpoint { position: self.examined, resume: self.resume() })).await
    }

    async fn send_fell_behind(&self, position: u64) -> Result<(), Ended> {
        self.send(Kind::FellBehind(v1::FellBehind { position, resume: self.resume() })).await
    }

    /// Returns the token to continue at the cursor.
    fn resume(&self) -> Bytes {
        self.cursor.resume_token(self.of, self.cursor.next(), self.examined).encode()
    }

    async fn deliver(&mut self, events: Vec<v1::RecordedEvent>) -> Result<(), Ended> {
        let permit = self.permit.take();
        let events: Vec<_> = events.into_iter().filter(|e| self.cursor.wants(e)).collect();
        let Some(last) = events.last() else { return Ok(()) };
        let (revision, position) = (last.revision, last.position);
        self.observe_lag(last);
        let mut after = self.cursor.clone();
        after.advance(revision, position);
        let examined = self.examined.max(position);
        let resume = after.resume_token(self.of, after.next(), examined).encode();
        let (store_id, lineage) = (self.of.store.to_string(), LINEAGE);
        self.send_counted(Kind::Events(v1::EventPage { events, store_id, lineage, resume }), permit).await?;
        self.cursor = after;
        self.examined = examined;
        self.reported = self.reported.max(position);
        self.failed = 0;
        Ok(())
    }

    fn observe_lag(&self, event: &v1::RecordedEvent) {
        let (true, Some(at)) = (self.caught_up, &event.recorded_at) else { return };
        let at = u64::try_from(at.seconds).unwrap_or(0) * 1_000_000 + u64::try_from(at.nanos).unwrap_or(0) / 1000;
        let lag = Duration::from_micros(rt::now_us().saturating_sub(at));
        self.shared.metrics.subscription_lag_seconds.observe(lag.as_secs_f64());
    }

    async fn deliver_from_peer(&mut self, nodes: &[NodeId]) -> Result<Infallible, Ended> {
        let node = nodes.get(self.failed as usize % nodes.len().max(1)).copied();
        let channel = node.and_then(|n| self.shared.node.peer_channel(n)).ok_or(Ended::Source)?;
        let request = self.original.with(&self.cursor.rest_of_subscription());
        let request = forward::request(request, &self.call.store, &self.call.request_id, None);
        let mut stream = forward::streaming(channel, SUBSCRIBE, request).await.map_err(peer_ended)?.into_inner();
        loop {
            self.call.answers.ready().await;
            let message = stream.message().await.map_err(peer_ended)?.ok_or(Ended::Source)?;
            self.relay(message).await?;
        }
    }

    async fn relay(&mut self, message: v1::SubscribeResponse) -> Result<(), Ended> {
        match message.kind {
            Some(Kind::Events(page)) => {
                self.permit = Some(self.call.answers.permit(Some(encode::page_len(&page.events))).await?);
                self.deliver(page.events).await
            }
            Some(Kind::Confirmed(c)) => {
                // The first peer fixes an open end; a later peer continues from the same position.
                if let Some(next) = c.next {
                    self.cursor.set_open_end(next);
                }
                self.confirm(c.position, c.next).await
            }
            Some(Kind::CaughtUp(c)) => {
                self.cursor.skip_to(c.position);
                self.examined = self.examined.max(c.position);
                self.mark_end().await
            }
            Some(Kind::FellBehind(f)) => {
                if !self.caught_up {
                    return Ok(());
                }
                self.caught_up = false;
                self.send_fell_behind(f.position).await
            }
            Some(Kind::Checkpoint(c)) => {
                self.cursor.skip_to(c.position);
                if c.position <= self.reported {
                    return Ok(());
                }
                self.examined = self.examined.max(c.position);
                self.reported = c.position;
                self.send_checkpoint().await
            }
            None => Ok(()),
        }
    }

    /// Returns the deadline of the next step. The subscription itself may last for ever.
    fn step_deadline(&self) -> Instant {
        Instant::now() + self.shared.config.timeout
    }

    async fn send(&self, kind: Kind) -> Result<(), Ended> {
        self.send_counted(kind, None).await
    }

    async fn send_counted(&self, kind: Kind, permit: Option<Permit>) -> Result<(), Ended> {
        let message = v1::SubscribeResponse { kind: Some(kind) };
        self.tx.send((Ok(message), permit)).await.map_err(|_| Ended::Client)
    }
}

fn read_ended(e: ReadError) -> Ended {
    // A group without leader for a moment ends no subscription.
    if replica_lost(&e) || matches!(e, ReadError::NoReadIndex(_) | ReadError::Deadline) {
        return Ended::Source;
    }
    Problem::from(e).into()
}

fn peer_ended(status: Status) -> Ended {
    if peer_lost(&status) { Ended::Source } else { Ended::Subscription(status) }
}
