//! [`Shared`], the state of the services of a port.

use super::{CallMemory, GatewayConfig, readers::Readers};
use std::sync::Arc;
use taffrail_metrics::Metrics;
use taffrail_store_api::Node;
use tokio_util::sync::CancellationToken;

/// The sender of the calls of a port. A call from a peer is never forwarded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Clients, on port 2113.
    Client,
    /// Peers, on port 2114, which forward calls of their clients.
    Peer,
}

/// The state shared by all services of a port. Clones are cheap.
#[derive(Clone)]
pub struct Shared {
    /// The settings of the gateway.
    pub config: Arc<GatewayConfig>,
    /// The port to storage and replication on this node.
    pub node: Arc<dyn Node>,
    /// Counters and timers of the calls.
    pub metrics: Arc<Metrics>,
    /// Bounds the memory of the calls of all ports.
    pub memory: CallMemory,
    /// Runs blocking reads.
    pub readers: Readers,
    /// The sender of the calls.
    pub origin: Origin,
    /// Cancelled when the node stops; streams then end.
    pub stopping: CancellationToken,
}
