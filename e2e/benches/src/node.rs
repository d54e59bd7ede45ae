//! A single node process, built in the profile of this binary.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use taffrail_client::{Client, ConnectOptions};
use tokio::process::{Child, Command};

/// Time limit for start, calls and stop of the node, longer than needed on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node with a single store, `default`.
pub struct Node {
    child: Child,
    endpoint: String,
}

impl Node {
    /// Starts the binary with a new data directory and waits until the store has a leader.
    pub async fn start(binary: &Path, scratch: &Path) -> Result<Self> {
        let held: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let ports: Vec<String> =
            held.iter().map(|port| Ok(port.local_addr()?.to_string())).collect::<std::io::Result<_>>()?;
        drop(held);
        let log: PathBuf = scratch.join("node.log");
        let mut command = Command::new(binary);
        // Settings in the caller's environment must not influence the measurement.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("TAFFRAIL_")) {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--single", "--data-dir"]).arg(scratch.join("node"));
        for (name, address) in ["clients", "peers", "admin", "http"].iter().zip(&ports) {
            command.args([format!("--listen-{name}"), address.clone()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).kill_on_drop(true);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}; build the node with `make bench`", binary.display()))?;
        let node = Self { child, endpoint: format!("http://{}", ports[0]) };
        let client = node.client()?;
        let served = tokio::time::timeout(PATIENCE, serves(&client)).await;
        served.with_context(|| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the store has no leader after {} s; log of the node:\n{log}", PATIENCE.as_secs())
        })?;
        Ok(node)
    }

    /// Returns a client with a new connection.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::connect_lazy(&self.endpoint, ConnectOptions::default())?.with_timeout(PATIENCE))
    }

    /// Stops the node with SIGTERM and checks its exit status.
    pub async fn end(mut self) -> Result<()> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("the node has ended")?;
        kill_process(id, Signal::TERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("the node does not end")??;
        if !status.success() {
            bail!("the node ended with {status}");
        }
        Ok(())
    }
}

/// Waits until the store of the node has a leader.
async fn serves(client: &Client) {
    let mut turns = tokio::time::interval(Duration::from_millis(200));
    while !client.store("default").await.is_ok_and(|store| store.leader_node_id.is_some()) {
        turns.tick().await;
    }
}
