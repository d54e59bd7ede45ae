//! [`SimTransport`]: carries frames between nodes. Frames are encoded, delayed, lost and repeated, each direction
//! separately; a stopped node refuses connections.

use crate::{lock::lock, network::Endpoint, planted_defect::PlantedDefect, trace, trace::short, world::World};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use prost::Message;
use std::{sync::Arc, time::Duration};
use taffrail_core::ids::{ClusterId, GroupId, NodeId, ReplicaId};
use taffrail_proto::{
    peer::{CatchUpChunk, CatchUpRequest, Frame, FrameKind, peer_server::Peer},
    storage as pb,
};
use taffrail_raft::{
    codec,
    peer::{self, CallError, PeerTransport, Request},
};
use tokio::sync::{mpsc, oneshot, watch};

/// Capacity of the queue of state chunks.
const CHUNKS_MAX: usize = 4;

/// The transport of a node.
#[derive(Clone)]
pub struct SimTransport {
    world: Arc<World>,
    host: NodeId,
    own: watch::Receiver<Option<(ClusterId, NodeId)>>,
}

impl SimTransport {
    /// Creates the transport of a host. `own` holds the cluster and the node id named by frames as the sender.
    #[must_use]
    pub fn new(world: Arc<World>, host: NodeId, own: watch::Receiver<Option<(ClusterId, NodeId)>>) -> Self {
        Self { world, host, own }
    }
}

/// A frame in transit.
struct Letter {
    from: NodeId,
    to: NodeId,
    number: u64,
    bytes: Bytes,
}

/// Delivers a frame to an endpoint and returns the answer. `None` when the node ends meanwhile or does not answer.
async fn serve(endpoint: Endpoint, bytes: Bytes) -> Option<Bytes> {
    // The endpoint is not kept: parts of a crashed node would hold the state database open.
    let Endpoint { scope, service, ports, .. } = endpoint;
    drop(ports);
    let answered = scope.spawn(async move {
        let frame = Frame::decode(bytes).ok()?;
        let answer = service.call(tonic::Request::new(frame)).await.ok()?;
        Some(Bytes::from(answer.into_inner().encode_to_vec()))
    });
    answered.await.ok().flatten()
}

/// Checks that a granted vote is synced before the answer leaves the node.
fn check_vote(world: &World, asked: Bytes, reply: &Bytes) -> Result<(), String> {
    let decoded = Frame::decode(asked).ok().zip(Frame::decode(reply.clone()).ok());
    let Some((asked, reply)) =
        decoded.filter(|(asked, reply)| asked.kind() == FrameKind::Vote && reply.refusal.is_none())
    else {
        return Ok(());
    };
    let answer = pb::VoteResponse::decode(reply.payload).map_err(|e| e.to_string())?;
    match answer.vote.as_ref().map(codec::vote_from).filter(|_| answer.granted) {
        Some(vote) => lock(&world.invariants).granted(ReplicaId::new(asked.to_replica), vote),
        None => Ok(()),
    }
}

/// Delivers a frame and returns the answer. A loss is silent for `ttl`; a crash of the target breaks the call.
async fn carry(world: Arc<World>, letter: Letter, ttl: Duration, answer: oneshot::Sender<Bytes>) {
    let Letter { from, to, number, bytes } = letter;
    let Some(delay) = world.travel() else {
        trace!(world, "lost #{number}");
        return tokio::time::sleep(ttl).await;
    };
    tokio::time::sleep(delay + world.network.transfer_time(bytes.len())).await;
    let Some(endpoint) = world.network.endpoint(from, to) else {
        trace!(world, "undeliverable #{number}");
        return tokio::time::sleep(ttl).await;
    };
    trace!(world, "deliver #{number}");
    let Some(reply) = serve(endpoint, bytes.clone()).await else {
        trace!(world, "broken #{number}");
        return;
    };
    world.require(check_vote(&world, bytes, &reply));
    let Some(delay) = world.travel() else {
        trace!(world, "lost answer #{number}");
        return tokio::time::sleep(ttl).await;
    };
    tokio::time::sleep(delay).await;
    if world.network.endpoint(to, from).is_none() {
        trace!(world, "undeliverable answer #{number}");
        return tokio::time::sleep(ttl).await;
    }
    trace!(world, "answer #{number} {:08x}", short(&reply));
    // The caller may have given up.
    drop(answer.send(reply));
}

/// Delivers the same frame again, later, without a receiver of the answer.
async fn repeat(world: Arc<World>, letter: Letter) {
    world.pause(0, 400).await;
    if let Some(endpoint) = world.network.endpoint(letter.from, letter.to) {
        trace!(world, "deliver #{} again", letter.number);
        world.count("repeated frames");
        drop(serve(endpoint, letter.bytes).await);
    }
}

impl PeerTransport for SimTransport {
    fn call(&self, to: NodeId, request: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (world, from) = (Arc::clone(&self.world), self.host);
        let number = world.network.next_frame();
        let (kind, group, payload) = (request.kind, request.group, request.payload.clone());
        let frame = peer::frame(*self.own.borrow(), to, request, ttl);
        async move {
            let bytes = Bytes::from(frame?.encode_to_vec());
            let node = to;
            let to = world.network.host_of(node).ok_or(CallError::Unreachable(node))?;
            trace!(world, "send #{number} n{from}>n{to} {} {} {:08x}", kind.as_str_name(), bytes.len(), short(&bytes));
            // A connection to a node that runs is verified before the first frame. A broken connection is sometimes known
            // before the next frame is sent.
            let refused = match world.network.endpoint(from, to) {
                Some(_) => !world.network.is_verified(from, to),
                None => world.chance(500),
            };
            if refused {
                trace!(world, "no connection #{number}");
                return Err(CallError::Unreachable(node));
            }
            if world.network.is_stalled(group, to) && carries_entries(kind, payload) {
                trace!(world, "stalled #{number}");
                world.count("stalled appends");
                world.pause(20, 120).await;
                return Err(lost());
            }
            let forgeable = kind == FrameKind::Append && group != GroupId::SYSTEM;
            if world.options.plant == Some(PlantedDefect::ForgedAnswer) && forgeable && world.chance(10) {
                return Ok(forged_success());
            }
            let letter = |bytes: &Bytes| Letter { from, to, number, bytes: bytes.clone() };
            if matches!(kind, FrameKind::Append | FrameKind::Vote | FrameKind::PreVote) && world.chance(5) {
                world.spawn(repeat(Arc::clone(&world), letter(&bytes)));
            }
            let (tx, rx) = oneshot::channel();
            world.spawn(carry(Arc::clone(&world), letter(&bytes), ttl, tx));
            let reply = match tokio::time::timeout(ttl, rx).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => return Err(CallError::NoAnswer("the connection broke".into())),
                Err(_) => return Err(CallError::NoAnswer(format!("none within {ttl:?}"))),
            };
            let reply = Frame::decode(reply).map_err(|e| CallError::NoAnswer(e.to_string()))?;
            reply.refusal.map_or(Ok(reply.payload), |no| Err(CallError::Refused(no)))
        }
        .boxed()
    }

    fn catch_up(
        &self,
        to: NodeId,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        let (world, from) = (Arc::clone(&self.world), self.host);
        async move {
            let node = to;
            let to = world.network.host_of(node).ok_or(CallError::Unreachable(node))?;
            trace!(world, "catch-up n{from} asks n{to} from {}", request.next_position);
            let Some(delay) = world.travel() else { return Err(lost()) };
            tokio::time::sleep(delay).await;
            let endpoint = world.network.endpoint(from, to).filter(|_| world.network.is_verified(from, to));
            let endpoint = endpoint.ok_or(CallError::Unreachable(node))?;
            let Endpoint { scope, service, life, ports } = endpoint;
            drop(ports);
            let opened = scope.spawn(async move { service.catch_up(tonic::Request::new(request)).await });
            let opened = opened.await.map_err(|_| lost())?;
            let stream = opened.map_err(|status| CallError::NoAnswer(status.message().to_owned()))?.into_inner();
            let (tx, rx) = mpsc::channel(CHUNKS_MAX);
            let pump = Pump { world: Arc::clone(&world), from: to, to: from, life, out: tx };
            world.spawn(pump.run(stream));
            Ok(rx)
        }
        .boxed()
    }
}

impl World {
    /// Travel time of a frame; `None` when the frame is lost.
    #[must_use]
    pub fn travel(&self) -> Option<Duration> {
        let (loss, slow) = self.network.loss_and_slowness();
        if self.chance(loss) {
            return None;
        }
        Some(if self.chance(slow) { self.random_ms(20, 300) } else { self.random_ms(0, 5) })
    }
}

fn lost() -> CallError {
    CallError::NoAnswer("the connection broke".into())
}

/// True for an append with entries; a heartbeat has none.
fn carries_entries(kind: FrameKind, payload: Bytes) -> bool {
    kind == FrameKind::Append && pb::AppendRequest::decode(payload).is_ok_and(|append| !append.entries.is_empty())
}

/// The answer of a follower after a successful append.
fn forged_success() -> Bytes {
    let kind = Some(pb::append_response::Kind::Success(pb::Blank {}));
    pb::AppendResponse { kind }.encode_to_vec().into()
}

/// Carries chunks of a state from node to node, in order, until the connection or one of the two nodes is lost.
struct Pump {
    world: Arc<World>,
    from: NodeId,
    to: NodeId,
    life: u64,
    out: mpsc::Sender<Result<CatchUpChunk, CallError>>,
}

impl Pump {
    async fn run<S>(self, mut chunks: S)
    where
        S: futures::Stream<Item = Result<CatchUpChunk, tonic::Status>> + Unpin,
    {
        loop {
            let next = tokio::select! {
                biased;
                () = self.out.closed() => return,
                next = chunks.next() => next,
            };
            let item = match (self.carry(&next).await, next) {
                (false, _) => Err(lost()),
                (true, None) => return,
                (true, Some(Err(status))) => Err(CallError::NoAnswer(status.message().to_owned())),
                (true, Some(Ok(chunk))) => CatchUpChunk::decode(Bytes::from(chunk.encode_to_vec()))
                    .map_err(|e| CallError::NoAnswer(e.to_string())),
            };
            let failed = item.is_err();
            trace!(self.world, "chunk n{}>n{} failed {failed}", self.from, self.to);
            if self.out.send(item).await.is_err() || failed {
                return;
            }
        }
    }

    /// Waits for the travel time of a chunk; false when the connection is lost meanwhile.
    async fn carry(&self, chunk: &Option<Result<CatchUpChunk, tonic::Status>>) -> bool {
        let Some(delay) = self.world.travel() else { return false };
        let bytes = chunk.as_ref().and_then(|c| c.as_ref().ok()).map_or(0, CatchUpChunk::encoded_len);
        tokio::time::sleep(delay + self.world.network.transfer_time(bytes)).await;
        let there = self.world.network.endpoint(self.from, self.to).is_some();
        let back = self.world.network.endpoint(self.to, self.from);
        there && back.is_some_and(|e| e.life == self.life)
    }
}
