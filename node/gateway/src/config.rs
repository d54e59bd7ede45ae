//! [`GatewayConfig`], the settings of the gateway.

use std::time::Duration;

/// The settings of the gateway, validated by the node at startup.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Name of the Cluster resource, the prefix of the names of its Services and pods.
    pub cluster: String,
    /// Namespace of the Cluster resource, and the default namespace of a store.
    pub namespace: String,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Further DNS domains of stores, addressed as `STORE.DOMAIN`.
    pub domains: Vec<String>,
    /// Store of a call without a store address, as `NAME` or `NAMESPACE/NAME`.
    pub default_store: Option<String>,
    /// Maximum size of the data and metadata of an event, in bytes.
    pub event_bytes_max: usize,
    /// Maximum size of an append, in bytes.
    pub batch_bytes_max: usize,
    /// Time limit of a call, or of each step of a stream, if the client sets no deadline.
    pub timeout: Duration,
}
