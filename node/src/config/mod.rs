//! The frozen [`Config`], built from defaults, file, environment and flags, and checked before any port or file is opened.
//!
//! Each key has one name: `section.key` in the file and `TAFFRAIL_SECTION_KEY` in the environment. Unknown keys are errors,
//! and all problems are reported at once.
//!
//! - [`key`], [`keys`]: the settings as data, with bounds, defaults and documentation; `reference_page` prints them as
//!   docs/CONFIG.md. `suggestion`: the error text for an unknown key.
//! - `file`, `env`, [`args`]: the sources. `values`: their values as strings, with origins and problems.
//! - `check`: parses the values into [`Config`]. `log_filter`: parses the directives of `log.filter`.
//! - [`load`]: all of these in order.

pub mod args;
mod check;
mod env;
mod file;
pub mod key;
pub mod keys;
pub mod load;
pub(crate) mod log_filter;
#[cfg(test)]
mod reference_page;
mod suggestion;
mod values;

use crate::disk_space::MarkSettings;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use taffrail_raft::tuning::Tuning;
use tracing::level_filters::LevelFilter;

/// Source of the addresses of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From the EndpointSlices of a headless Service.
    Kubernetes {
        /// Name of the Service.
        service: String,
    },
    /// From a fixed list.
    Static {
        /// Addresses of all nodes, `host:port`.
        peers: Vec<String>,
    },
    /// No peers: the node bootstraps a cluster of its own.
    Single,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, on standard output.
    Json,
    /// Text for a terminal, on standard error.
    Text,
}

/// The checked settings of a node. docs/CONFIG.md documents the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of marker, state and log.
    pub data_dir: PathBuf,
    /// Name of the Cluster.
    pub cluster: String,
    /// Namespace of the Cluster.
    pub namespace: String,
    /// Pod or host name.
    pub name: String,
    /// Address for clients; usually port 2113.
    pub listen_clients: SocketAddr,
    /// Address for peers; usually port 2114.
    pub listen_peers: SocketAddr,
    /// Address for the operator; usually port 2115.
    pub listen_admin: SocketAddr,
    /// Address for metrics and probes; usually port 9090.
    pub listen_http: SocketAddr,
    /// Address announced to peers, `host:port`.
    pub advertise: String,
    /// Source of the addresses of peers.
    pub discovery: Discovery,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// Store of calls that name no store.
    pub default_store: Option<String>,
    /// Additional DNS domains under which clients address stores.
    pub domains: Vec<String>,
    /// Deadline of an append whose client sets none.
    pub append_timeout: Duration,
    /// Largest event, data and metadata together, in bytes.
    pub event_bytes_max: usize,
    /// Largest append, in bytes.
    pub batch_bytes_max: usize,
    /// Memory for requests until their outcome is known, on all ports together, in bytes.
    pub request_bytes_max: usize,
    /// Memory for answers under way, on all ports together, in bytes.
    pub answer_bytes_max: usize,
    /// Memory for the state database, in bytes.
    pub state_memory_bytes: usize,
    /// Marks of the free space on the disk.
    pub disk_marks: MarkSettings,
    /// Time at which the coordinator finishes an upgrade.
    pub finalize_upgrade: FinalizeUpgrade,
    /// Timeouts of consensus, and when the log is purged.
    pub raft: Tuning,
    /// Time for which a stopping node still accepts calls.
    pub drain_delay: Duration,
    /// Time for the whole stop.
    pub grace: Duration,
    /// Format of the log lines.
    pub log_format: LogFormat,
    /// Log level of the node's own crates; `log_filter` bounds the level of libraries.
    pub log_level: LevelFilter,
    /// Additional directives, already checked, which override the level.
    pub log_filter: String,
}

/// Time at which the coordinator raises the rules of catalogue and stores. Older binaries do not run any more afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalizeUpgrade {
    /// As soon as the binaries of all nodes know newer rules.
    #[default]
    Automatic,
    /// At a call of `taffrail cluster finalize-upgrade`.
    OnDemand,
}

impl Config {
    /// Returns the address of this node for clients, `host:port`: the host announced to peers, with the port for
    /// clients. `None` if the system chooses the port.
    #[must_use]
    pub fn client_address(&self) -> Option<String> {
        let (host, _) = self.advertise.rsplit_once(':')?;
        let port = self.listen_clients.port();
        (port != 0).then(|| format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests;
