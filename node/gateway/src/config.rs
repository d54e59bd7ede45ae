//! [`GatewayConfig`], the settings of the gateway.

use std::time::Duration;

/// The settings of the gateway, which the node validates before it starts.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Name of the Cluster resource, from which the names of its own Services and pods follow.
    pub cluster: String,
    /// Namespace of the Cluster resource, and the default namespace of a store.
    pub namespace: String,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Further DNS domains under which clients address stores, as `STORE.DOMAIN`.
    pub domains: Vec<String>,
    /// Store of a call that addresses none, as `NAME` or `NAMESPACE/NAME`.
    pub default_store: Option<String>,
    /// Maximum size of data and metadata of one event, in bytes.
    pub event_bytes_max: usize,
    /// Maximum size of one append, in bytes.
    pub batch_bytes_max: usize,
    /// Time limit of a call, or of one step of a stream, if the client sets no deadline.
    pub timeout: Duration,
}
