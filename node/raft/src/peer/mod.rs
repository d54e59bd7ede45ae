//! Node to node: frames, who may send them, and how they travel.
//!
//! `PeerTransport` is the seam: `grpc` carries frames over tonic, a simulation over its own network. `dispatch` takes the
//! frames that arrive.

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
    /// What it asks.
    pub kind: FrameKind,
    /// The group it is about; `GroupId::SYSTEM` for matters of the node.
    pub group: GroupId,
    /// The asking replica.
    pub from_replica: ReplicaId,
    /// The asked replica.
    pub to_replica: ReplicaId,
    /// The encoded message.
    pub payload: Bytes,
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No proven connection: nothing was sent.
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    /// Sent, and no answer came in time or the connection broke.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The other side said no.
    #[error("refused: {}", .0.message)]
    Refused(Refusal),
}

/// Carries requests to peers.
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
