//! The native gateway, `taffrail.v1`: decode and check, find the store, serve here or one hop away, answer.
//!
//! - `native/`: one file a service. `resolve`: which store a call means. `names`: whether a bare name can mean one store only.
//! - `decode`/`encode`: wire to domain and back.
//! - `forward`: calls passed on, one hop. `cursor`: reads, here or through a peer. `subscription`: subscriptions, likewise.
//! - `status`: domain errors to gRPC codes and reasons, in one place. `tonic_errors`: the same for what tonic itself refuses.
//!   `deadlines`: the same for calls that have no answer when their time is over.
//! - `inflow`: how many bytes of messages may be under way.
//! - `instrument`: counts, times and names calls. `readers`: the bounded pool of blocking reads. `health`: gRPC health of services and stores.
//! - `server`: the routers of the client port and of the peer port.

pub mod call;
pub mod cursor;
pub mod deadlines;
pub mod decode;
pub mod encode;
pub mod forward;
pub mod health;
pub mod inflow;
pub mod instrument;
pub mod native;
pub mod read;
pub mod readers;
pub mod resolve;
pub mod server;
pub mod status;
pub mod subscription;
pub mod tonic_errors;

use std::{sync::Arc, time::Duration};
use taffrail_metrics::Metrics;
use taffrail_store_api::Node;
use tokio_util::sync::CancellationToken;

/// What the gateway is told.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Name of the Cluster, for its own Service names.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Further domains under which stores are addressed.
    pub domains: Vec<String>,
    /// Store of calls that name none.
    pub default_store: Option<String>,
    /// Data and metadata of one event, bytes.
    pub event_bytes_max: usize,
    /// One append, bytes.
    pub batch_bytes_max: usize,
    /// How long a call may take when the client sets no deadline.
    pub timeout: Duration,
}

/// Whether a call came from a client or was passed on by a peer. What was passed on is never passed on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Port 2113.
    Client,
    /// Port 2114.
    Peer,
}

/// What every service of the gateway shares.
#[derive(Clone)]
pub struct Shared {
    /// What it is told.
    pub config: Arc<GatewayConfig>,
    /// The node beneath.
    pub node: Arc<dyn Node>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Blocking reads.
    pub readers: readers::Readers,
    /// Who calls.
    pub origin: Origin,
    /// Cancelled when streams must end.
    pub stopping: CancellationToken,
}

#[cfg(test)]
mod tests;
