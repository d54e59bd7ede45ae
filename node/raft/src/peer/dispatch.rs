//! [`Handler`]: receives frames from [`Service`](super::server::Service). The node implements the trait.

use super::Request;
use bytes::Bytes;
use futures::future::BoxFuture;
use taffrail_core::ids::NodeId;
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, Identity, PeerAddress, Refusal, RefusalKind, Reverted};
use tokio::sync::mpsc;

/// Answers requests of verified peers. Calls arrive from many tasks at once.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request of a peer whose identity was verified by the handshake.
    fn handle(&self, from: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>>;
    /// Opens a stream of a group's state.
    ///
    /// # Errors
    /// When this node has no replica of the requested group.
    fn catch_up(
        &self,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>>;
    /// Returns the identity of this node, or `None` while the node belongs to no cluster.
    fn identity(&self) -> Option<Identity>;
    /// Returns the addresses of all known peers.
    fn peers(&self) -> Vec<PeerAddress>;
    /// Compares the starts of a peer with the earlier starts of the same disk, and records the present start before the
    /// peer is accepted.
    ///
    /// # Errors
    /// The evidence that the disk of the peer went back to an earlier state.
    fn meet(&self, peer: &Identity) -> BoxFuture<'static, Result<(), Reverted>>;
    /// Receives the claim of the peer `by` that the disk of this node went back to an earlier state. The
    /// evidence is not checked yet.
    fn accused(&self, by: &Identity, evidence: &Reverted);
}

/// Builds a refusal without a leader hint.
#[must_use]
pub fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind: kind.into(), message: message.into(), leader_node: 0, leader_replica: 0 }
}

/// Builds the refusal of a frame that does not decode or requests an operation unknown to the receiver.
pub(crate) fn bad_frame(why: impl std::fmt::Display) -> Refusal {
    refusal(RefusalKind::BadFrame, why.to_string())
}

/// Builds the refusal of a call that failed for a transient reason.
pub(crate) fn unavailable(why: impl std::fmt::Display) -> Refusal {
    refusal(RefusalKind::Unavailable, why.to_string())
}
