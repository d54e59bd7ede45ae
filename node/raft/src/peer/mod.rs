//! The transport between nodes.
//!
//! - [`PeerTransport`] sends requests. [`grpc`] is the implementation over tonic; the simulator
//!   has another implementation.
//! - [`server`] receives frames, checks the sender, and passes each frame to a [`Handler`](dispatch::Handler).
//! - [`pieces`] cuts large requests into small frames, and joins the frames at the receiver.
//! - [`table`] holds the verified connections.

pub mod dispatch;
pub mod grpc;
pub mod pieces;
pub mod server;
pub mod table;

use bytes::Bytes;
use futures::future::BoxFuture;
use std::time::Duration;
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, FrameKind, Refusal};
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
