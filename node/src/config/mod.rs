//! One frozen `Config`, built from defaults < file < environment < flags and checked before anything is opened.
//!
//! Every key has one name: `section.key` in the file, `TAFFRAIL_SECTION_KEY` in the environment. Unknown keys are errors,
//! and all problems are reported at once.
//!
//! - `keys`: every key, its type, default and meaning. `file`, `env`, `args`: where values come from. `values`: what they
//!   are until they are checked. `check`: from them to `Config`. `load`: all of it in order.

pub mod args;
mod check;
mod env;
mod file;
mod keys;
pub mod load;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};
use taffrail_raft::tuning::Tuning;
use tracing::level_filters::LevelFilter;

/// How peers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From the EndpointSlices of a headless Service.
    Kubernetes {
        /// Its name.
        service: String,
    },
    /// From a list of `host:port`.
    Static {
        /// The addresses.
        peers: Vec<String>,
    },
    /// This node is alone and makes its own cluster.
    Single,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Text,
}

/// Everything a node is told. See docs/CONFIG.md for the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Holds marker, state and log.
    pub data_dir: PathBuf,
    /// Name of the Cluster.
    pub cluster: String,
    /// Namespace of the Cluster.
    pub namespace: String,
    /// Pod or host name.
    pub name: String,
    /// Clients, port 2113.
    pub listen_clients: SocketAddr,
    /// Peers, port 2114.
    pub listen_peers: SocketAddr,
    /// The operator, port 2115.
    pub listen_admin: SocketAddr,
    /// Metrics and probes, port 9090.
    pub listen_http: SocketAddr,
    /// Address that peers are told, `host:port`.
    pub advertise: String,
    /// How peers are found.
    pub discovery: Discovery,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Store of calls that name none.
    pub default_store: Option<String>,
    /// Further domains under which stores are addressed.
    pub domains: Vec<String>,
    /// How long an append may take when the client sets no deadline.
    pub append_timeout: Duration,
    /// Data and metadata of one event, bytes.
    pub event_bytes_max: usize,
    /// One append, bytes.
    pub batch_bytes_max: usize,
    /// What the calls under way on one port may hold in memory, bytes.
    pub inflow_bytes_max: usize,
    /// What the state database may hold in memory, bytes.
    pub state_memory_bytes: usize,
    /// Times and bounds of consensus.
    pub raft: Tuning,
    /// How long a node that stops still accepts calls.
    pub drain_delay: Duration,
    /// How long stopping may take in all.
    pub grace: Duration,
    /// Log lines.
    pub log_format: LogFormat,
    /// How much is logged; see `logging::filter`.
    pub log_level: LevelFilter,
    /// Further directives, checked, which win over the level.
    pub log_filter: String,
}

#[cfg(test)]
mod tests;
