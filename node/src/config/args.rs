//! Flags of `taffrail serve`.

use std::path::PathBuf;

/// Run a node: with `--config` as a member of a cluster, or alone with `--single`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// Configuration file (TOML). Keys: docs/CONFIG.md.
    #[arg(long, value_name = "FILE", required_unless_present = "single")]
    pub config: Option<PathBuf>,
    /// Run alone, on loopback, with one store named `default`; needs nothing but a data directory.
    #[arg(long, requires = "data_dir")]
    pub single: bool,
    /// Data directory (overrides `node.data_dir`).
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for clients (overrides `listen.clients`).
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_clients: Option<String>,
    /// Address for peers (overrides `listen.peers`).
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_peers: Option<String>,
    /// Address for the operator (overrides `listen.admin`).
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_admin: Option<String>,
    /// Address for metrics and probes (overrides `listen.http`).
    #[arg(long, value_name = "HOST:PORT")]
    pub listen_http: Option<String>,
    /// Check the configuration, print the effective values, and exit.
    #[arg(long)]
    pub check: bool,
}
