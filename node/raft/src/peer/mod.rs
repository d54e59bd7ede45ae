//! The transport between nodes. [`PeerTransport`] sends: [`grpc`] over tonic, the simulator over a network of its own.
//! [`server`] receives, checks the sender, and hands each frame to a [`Handler`](dispatch::Handler). [`table`] holds
//! the verified connections.

pub mod dispatch;
pub mod grpc;
pub mod server;
pub mod table;

use bytes::Bytes;
use futures::future::BoxFuture;
use std::time::Duration;
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, FrameKind, Refusal};
use tokio::sync::mpsc;

/// A request of one replica (or node, with replica 0) to another.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation.
    pub kind: FrameKind,
    /// The group of the request; [`GroupId::SYSTEM`] for requests to a node.
    pub group: GroupId,
    /// The asking replica.
    pub from_replica: ReplicaId,
    /// The asked replica.
    pub to_replica: ReplicaId,
    /// The encoded message.
    pub payload: Bytes,
}

/// Failure of a call to a peer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No verified connection: the request was not sent.
    #[error("node {0} cannot be reached: no verified connection")]
    Unreachable(NodeId),
    /// The request was sent, and no answer arrived in time or the connection broke.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The peer refused the request.
    #[error("refused: {}", .0.message)]
    Refused(Refusal),
}

/// Carries requests to peers.
///
/// Consensus and the node call it from many tasks at once. An implementation never retries, and concurrent calls may
/// arrive in any order.
pub trait PeerTransport: Send + Sync + 'static {
    /// Sends a request and waits for its answer, at most `ttl`.
    fn call(&self, to: NodeId, request: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>>;
    /// Opens a stream of another node's state; chunks arrive with end-to-end flow control.
    fn catch_up(
        &self,
        to: NodeId,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>>;
}
