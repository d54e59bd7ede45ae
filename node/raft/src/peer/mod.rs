//! The transport between nodes.
//!
//! - [`PeerTransport`] sends requests. [`grpc`] is the implementation over tonic; the simulator
//!   has another implementation.
//! - [`links`] keeps the connections to the peers, one for each [`Lane`].
//! - [`server`] receives frames, checks the sender, and passes each frame to a [`Handler`](dispatch::Handler).
//! - [`handshake`] verifies peers. [`starts`] detects a disk that went back to an earlier state.
//! - [`pieces`] cuts large requests into small frames, and joins the frames at the receiver.
//! - [`Peers`] shows the verified peers to the rest of the node. [`table`] holds the verified connections of [`grpc`].

pub mod dispatch;
pub mod grpc;
pub mod handshake;
mod lane;
pub mod links;
pub mod pieces;
pub mod server;
pub mod starts;
pub mod table;

pub use lane::Lane;

use bytes::Bytes;
use futures::future::BoxFuture;
use std::time::Duration;
use taffrail_core::ids::{ClusterId, GroupId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, Frame, FrameKind, PeerAddress, Refusal};
use taffrail_store_api::PeerChannel;
use tokio::sync::mpsc;

/// A request of one replica to another, or of one node to another (with replica id 0).
#[derive(Clone, Debug)]
pub struct Request {
    /// Operation to which the payload belongs.
    pub kind: FrameKind,
    /// Group of the request; [`GroupId::SYSTEM`] for requests to a node.
    pub group: GroupId,
    /// Replica that sends the request.
    pub from_replica: ReplicaId,
    /// Replica that must answer.
    pub to_replica: ReplicaId,
    /// Encoded message of the operation.
    pub payload: Bytes,
}

/// Failure of a call to a peer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No verified connection exists, so the request was not sent.
    #[error("node {0} cannot be reached: no verified connection")]
    Unreachable(NodeId),
    /// The request was sent, and the connection broke or no answer arrived in time.
    #[error("the peer gave no answer: {0}")]
    NoAnswer(String),
    /// The peer refused the request.
    #[error("the peer refused the request: {}", .0.message)]
    Refused(Refusal),
}

/// Carries requests to peers.
///
/// Consensus and the node call the transport from many tasks at once. An implementation never retries, and concurrent
/// calls may arrive in any order.
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends a request and waits at most `ttl` for the answer.
    fn call(&self, to: NodeId, request: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>>;
    /// Opens a stream of a group's state on another node. Chunks arrive with end-to-end flow control.
    fn catch_up(
        &self,
        to: NodeId,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>>;
}

/// The transport of a node without peers: no node is reachable.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl PeerTransport for NoPeers {
    fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        Box::pin(std::future::ready(Err(CallError::Unreachable(to))))
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        Box::pin(std::future::ready(Err(CallError::Unreachable(to))))
    }
}

/// The peers with a verified connection. Tasks of the whole node ask at once; an answer may be outdated by the time
/// of a call.
pub trait Peers: Send + Sync + 'static {
    /// Returns the nodes with a verified connection, in the order in which [`ask_any`] asks the nodes. A joining peer
    /// without a node id is absent.
    fn connected(&self) -> Vec<NodeId>;
    /// Returns a channel for calls of clients, forwarded to a node, or `None` without a verified connection. The channel
    /// shares no connection with the frames of a [`PeerTransport`].
    fn channel(&self, node: NodeId) -> Option<PeerChannel>;
    /// Returns the address of a node for clients, `host:port`, or `None` if the verified peer has named no address.
    fn client_address(&self, node: NodeId) -> Option<String>;
    /// Returns the addresses of all verified peers, as sent to other nodes in a handshake.
    fn addresses(&self) -> Vec<PeerAddress>;
}

/// Sends a request to one verified peer after another until a peer answers; for a node without an id.
///
/// # Errors
/// Returns the error of the last peer, or [`CallError::Unreachable`] when no peer with an id is connected.
pub async fn ask_any(
    transport: &dyn PeerTransport,
    peers: &dyn Peers,
    request: Request,
    ttl: Duration,
) -> Result<Bytes, CallError> {
    let mut last = CallError::Unreachable(NodeId::default());
    for to in peers.connected() {
        match transport.call(to, request.clone(), ttl).await {
            Ok(answer) => return Ok(answer),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Builds the frame of a request. `own` names the sender: a joining node has a cluster and the node id 0.
///
/// # Errors
/// [`CallError::Unreachable`] while the sender belongs to no cluster.
pub fn frame(
    own: Option<(ClusterId, NodeId)>,
    to: NodeId,
    request: Request,
    ttl: Duration,
) -> Result<Frame, CallError> {
    let (cluster, node) = own.ok_or(CallError::Unreachable(to))?;
    Ok(Frame {
        kind: request.kind.into(),
        from_node: node.get(),
        to_node: to.get(),
        group: request.group.get(),
        from_replica: request.from_replica.get(),
        to_replica: request.to_replica.get(),
        cluster_id: cluster.to_bytes().to_vec().into(),
        ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX),
        payload: request.payload,
        refusal: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Mutex;
    use taffrail_proto::peer::RefusalKind;

    /// Peers 1 to 3, of which only the last peer answers.
    #[derive(Default)]
    struct LastAnswers {
        asked: Mutex<Vec<u64>>,
    }

    impl Peers for LastAnswers {
        fn connected(&self) -> Vec<NodeId> {
            (1..=3).map(NodeId::new).collect()
        }
        fn channel(&self, _: NodeId) -> Option<PeerChannel> {
            None
        }
        fn client_address(&self, _: NodeId) -> Option<String> {
            None
        }
        fn addresses(&self) -> Vec<PeerAddress> {
            Vec::new()
        }
    }

    impl PeerTransport for LastAnswers {
        fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
            self.asked.lock().unwrap().push(to.get());
            let answer = match to.get() {
                1 => Err(CallError::Unreachable(to)),
                2 => Err(CallError::Refused(dispatch::refusal(RefusalKind::Unavailable, "not a member yet"))),
                _ => Ok(Bytes::from_static(b"answer")),
            };
            std::future::ready(answer).boxed()
        }
        fn catch_up(
            &self,
            to: NodeId,
            _: CatchUpRequest,
        ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
            std::future::ready(Err(CallError::Unreachable(to))).boxed()
        }
    }

    fn request() -> Request {
        let (group, replica) = (GroupId::SYSTEM, ReplicaId::default());
        Request { kind: FrameKind::Register, group, from_replica: replica, to_replica: replica, payload: Bytes::new() }
    }

    #[tokio::test]
    async fn peers_are_asked_in_turn_until_one_answers() {
        let peers = LastAnswers::default();
        let answer = ask_any(&peers, &peers, request(), Duration::from_secs(1)).await.unwrap();
        assert_eq!(
            (answer.as_ref(), peers.asked.lock().unwrap().as_slice()),
            (b"answer".as_slice(), [1, 2, 3].as_slice())
        );
    }

    #[test]
    fn a_node_without_a_cluster_sends_no_frame() {
        let to = NodeId::new(2);
        assert!(matches!(frame(None, to, request(), Duration::ZERO), Err(CallError::Unreachable(n)) if n == to));
    }
}
