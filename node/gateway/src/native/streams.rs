//! `taffrail.v1.Streams`.

use crate::{
    Origin, Shared,
    call::{Call, call, peer_lost},
    cursor::Cursor,
    decode, encode, forward,
    read::Read,
    status::{Problem, Proof, Reason, proof},
};
use futures::Stream;
use std::{pin::Pin, time::Duration};
use taffrail_core::{
    append::{Append, Appended},
    ids::NodeId,
    names::StreamName,
};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, streams_client::StreamsClient, streams_server::Streams},
};
use taffrail_runtime as rt;
use taffrail_store_api::{AppendError, Consistency, ResolveError, Route, StoreRef, StoreReplica};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

/// Pages that wait for a slow reader. Few: a connection may have thousands of reads, and each holds this much.
const PAGES_MAX: usize = 2;
/// Streams of one listing, default and most.
const LIST_DEFAULT: usize = 1_000;
const LIST_MAX: usize = 10_000;

/// See the module.
#[derive(Clone)]
pub struct Service(pub Shared);

impl Service {
    /// One append: on the local leader, or one hop away. Tries again only while nothing can have been proposed.
    async fn append_once_or_again(&self, append: &Append, call: &Call) -> Result<v1::AppendResponse, Status> {
        let mut last: Option<Problem> = None;
        let mut hint: Option<NodeId> = None;
        let mut tries = 0_usize;
        while Instant::now() < call.deadline {
            let store = match self.0.node.resolve(&call.store, call.deadline).await {
                Ok(store) => store,
                Err(e) => return Err(Problem::from(e).into()),
            };
            match self.0.node.route_write(&store) {
                Route::Local(replica) => match self.append_here(&*replica, append, call).await {
                    Ok(appended) => {
                        self.count(&store, append, appended.repeated);
                        return Ok(encode::appended(&appended));
                    }
                    Err(AppendError::NotLeader(to)) if self.0.origin == Origin::Client => {
                        hint = to.map(|h| h.node);
                        last = Some(Problem::from(AppendError::NotLeader(to)).with_leader_node(store.leader));
                    }
                    // Not proposed: the group may have moved, or another node may lead by now.
                    Err(e @ AppendError::NotServing(_)) if self.0.origin == Origin::Client => {
                        last = Some(Problem::from(e).with_leader_node(store.leader));
                    }
                    Err(e) => {
                        let refused = matches!(e, AppendError::Rejected(_) | AppendError::Overloaded);
                        let problem = Problem::from(e).with_leader_node(store.leader);
                        if refused {
                            self.0.metrics.reject(&store.name.to_string(), problem.reason().as_str());
                        }
                        return Err(problem.into());
                    }
                },
                Route::Remote(_) if self.0.origin == Origin::Peer => {
                    let problem = Problem::from(AppendError::NotLeader(None)).with_leader_node(store.leader);
                    return Err(problem.into());
                }
                Route::Remote(nodes) => {
                    let node = hint.take().or_else(|| nodes.get(tries % nodes.len().max(1)).copied());
                    match self.pass_on(&store, node, append, call).await {
                        Ok(answer) => return Ok(answer),
                        Err(Passed::Final(status)) => return Err(status),
                        Err(Passed::Again(problem, to)) => {
                            hint = to;
                            last = Some(problem);
                        }
                    }
                }
            }
            tries += 1;
            self.pause(tries, call.deadline).await;
        }
        Err(last.unwrap_or_else(|| Problem::new(Reason::Deadline, "the deadline passed")).into())
    }

    async fn append_here(
        &self,
        replica: &dyn StoreReplica,
        append: &Append,
        call: &Call,
    ) -> Result<Appended, AppendError> {
        call.maybe_proposed.begin();
        let outcome = replica.append(append.clone(), call.deadline).await;
        if !matches!(outcome, Ok(_) | Err(AppendError::Unknown(_))) {
            call.maybe_proposed.rule_out();
        }
        outcome
    }

    /// Waits a little before the next try: at once after the first miss, then up to 100 ms.
    async fn pause(&self, tries: usize, deadline: Instant) {
        let pause = Duration::from_millis(5 * (tries as u64).min(20));
        tokio::time::sleep_until(deadline.min(Instant::now() + pause / 2 + rt::jitter(pause))).await;
    }

    async fn pass_on(
        &self,
        store: &StoreRef,
        node: Option<NodeId>,
        append: &Append,
        call: &Call,
    ) -> Result<v1::AppendResponse, Passed> {
        let again = |why: &str| Passed::Again(Problem::new(Reason::NoLeader, why).with_leader_node(store.leader), None);
        let node = node.ok_or_else(|| again("the store has no replica"))?;
        let channel = self.0.node.peer_channel(node).ok_or_else(|| again("the leader's node cannot be reached"))?;
        let mut client = StreamsClient::new(channel).max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = forward::request(encode::append(append), &store.name, &call.request_id, Some(call.deadline));
        call.maybe_proposed.begin();
        let status = match client.append(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        match proof(&status) {
            Proof::Final => Err(Passed::Final(status)),
            Proof::NotProposed => {
                call.maybe_proposed.rule_out();
                let leader = status
                    .get_details_error_info()
                    .and_then(|i| i.metadata.get("leader_node").and_then(|n| n.parse().ok()))
                    .map(NodeId::new);
                let problem =
                    Problem::new(Reason::NoLeader, status.message()).with_leader_node(leader.or(store.leader));
                Err(Passed::Again(problem, leader))
            }
            Proof::Unknown => {
                let unknown = Problem::from(AppendError::Unknown("the connection to the leader broke"));
                Err(Passed::Final(unknown.into()))
            }
        }
    }

    fn count(&self, store: &StoreRef, append: &Append, repeated: bool) {
        if repeated {
            return;
        }
        let label = self.0.metrics.store_label(&store.name.to_string());
        self.0.metrics.appended_events.with_label_values(&[&label]).inc_by(append.events.len() as u64);
        let bytes: usize = append.events.iter().map(taffrail_core::event::NewEvent::size).sum();
        self.0.metrics.appended_bytes.with_label_values(&[&label]).inc_by(bytes as u64);
    }

    /// Counts what a check of the gateway's own refused. It never reaches a leader, which counts the rest.
    async fn count_refused(&self, call: &Call, problem: &Problem) {
        // Only the catalogue that is applied here is asked, with no time for more: a name that it does not know gets no
        // label, and the answer waits for nobody.
        if let Ok(store) = self.0.node.resolve(&call.store, Instant::now()).await {
            self.0.metrics.reject(&store.name.to_string(), problem.reason().as_str());
        }
    }

    async fn list_here(&self, call: &Call, request: v1::ListRequest) -> Result<v1::ListResponse, Status> {
        let limit = match request.page_size as usize {
            0 => LIST_DEFAULT,
            n => n.min(LIST_MAX),
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(StreamName::new(token).map_err(|e| Problem::field("page_token", e.rule))?),
        };
        let store = self.0.node.resolve(&call.store, call.deadline).await.map_err(Problem::from)?;
        let replica = match self.0.node.route_read(&store) {
            Route::Local(replica) => replica,
            Route::Remote(_) if self.0.origin == Origin::Peer => {
                return Err(Problem::from(ResolveError::NotServing("no replica here".into())).into());
            }
            Route::Remote(nodes) => return self.list_there(call, &store, nodes, request).await,
        };
        replica.read_index(call.deadline).await.map_err(Problem::from)?;
        let prefix = request.prefix;
        let streams = self
            .0
            .readers
            .run(replica.reader(), move |r| r.list_streams(&prefix, after.as_ref(), limit))
            .await
            .map_err(Problem::from)?;
        let next = if streams.len() == limit { streams.last().map(|s| s.stream.as_str().to_owned()) } else { None };
        let streams = streams.into_iter().map(|s| v1::StreamInfo {
            stream: s.stream.as_str().to_owned(),
            last_revision: s.last_revision.get(),
            events: s.last_revision.get() + 1,
        });
        Ok(v1::ListResponse { streams: streams.collect(), next_page_token: next.unwrap_or_default() })
    }

    async fn list_there(
        &self,
        call: &Call,
        store: &StoreRef,
        nodes: Vec<NodeId>,
        request: v1::ListRequest,
    ) -> Result<v1::ListResponse, Status> {
        let mut last = Problem::new(Reason::NotServing, "no replica of the store can be reached").into();
        for node in nodes {
            let Some(channel) = self.0.node.peer_channel(node) else { continue };
            let mut client = StreamsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let request = forward::request(request.clone(), &store.name, &call.request_id, Some(call.deadline));
            match client.list(request).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if peer_lost(&status) => last = status,
                Err(status) => return Err(status),
            }
        }
        Err(last)
    }
}

enum Passed {
    Final(Status),
    Again(Problem, Option<NodeId>),
}

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ReadResponse, Status>> + Send>>;

impl Service {
    async fn append_call(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let call = call(&self.0, &request)?;
        let append = match decode::append(&self.0.config, request.into_inner()) {
            Ok(append) => append,
            Err(problem) => {
                self.count_refused(&call, &problem).await;
                return Err(problem.into());
            }
        };
        self.append_once_or_again(&append, &call).await.map(Response::new)
    }

    async fn read_call(&self, request: Request<v1::ReadRequest>) -> Result<Response<Pages>, Status> {
        let call = call(&self.0, &request)?;
        let request = request.into_inner();
        let (source, direction) = decode::read(&request)?;
        let consistency = match request.consistency() {
            v1::Consistency::Unspecified | v1::Consistency::Linearizable => Consistency::Linearizable,
            v1::Consistency::Stale => Consistency::Stale,
        };
        let limit = if request.limit == 0 { u64::MAX } else { request.limit };
        let cursor = Cursor::new(source, direction);
        let (tx, rx) = mpsc::channel(PAGES_MAX);
        let mut read = Read::new(self.0.clone(), call, cursor, limit, consistency);
        // The first page is fetched before the answer begins, so that errors arrive as the call's own status.
        let timer = self.0.metrics.read_first_page_seconds.start_timer();
        let first = read.next().await?;
        timer.observe_duration();
        rt::spawn(async move {
            let mut page = first;
            while let Some(events) = page {
                if tx.send(Ok(v1::ReadResponse { events })).await.is_err() {
                    return;
                }
                page = match read.next().await {
                    Ok(page) => page,
                    Err(status) => {
                        // the reader may be gone by now, which is as good
                        drop(tx.send(Err(status)).await);
                        return;
                    }
                };
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }

    async fn list_call(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let call = call(&self.0, &request)?;
        self.list_here(&call, request.into_inner()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Streams for Service {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let _timer = self.0.metrics.append_seconds.start_timer();
        self.0.instrumented("Append", request, |request| self.append_call(request)).await
    }

    type ReadStream = Pages;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.0.instrumented("Read", request, |request| self.read_call(request)).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        self.0.instrumented("ListStreams", request, |request| self.list_call(request)).await
    }
}
