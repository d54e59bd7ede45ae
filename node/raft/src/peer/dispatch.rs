//! [`Handler`]: the receiver of frames. The node implements it; [`Service`](super::server::Service) calls it.

use super::Request;
use bytes::Bytes;
use futures::future::BoxFuture;
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, Identity, PeerAddress, Refusal, RefusalKind};
use tokio::sync::mpsc;

/// Answers requests of verified peers. Calls come from many tasks at once.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of a peer whose identity was proven by its handshake.
    fn handle(&self, from: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>>;
    /// Opens a stream of a group's state.
    ///
    /// # Errors
    /// When this node has no such replica.
    fn catch_up(
        &self,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>>;
    /// Identity of this node; `None` while it belongs to no cluster.
    fn identity(&self) -> Option<Identity>;
    /// Addresses of peers that this node knows.
    fn peers(&self) -> Vec<PeerAddress>;
}

/// A refusal without a leader hint.
#[must_use]
pub fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind: kind.into(), message: message.into(), leader_node: 0, leader_replica: 0 }
}

/// Refuses a frame that does not decode or asks for something that its receiver does not do.
pub(crate) fn bad_frame(why: impl std::fmt::Display) -> Refusal {
    refusal(RefusalKind::BadFrame, why.to_string())
}

/// Refuses a call that failed in a way that may pass.
pub(crate) fn unavailable(why: impl std::fmt::Display) -> Refusal {
    refusal(RefusalKind::Unavailable, why.to_string())
}
