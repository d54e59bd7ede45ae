//! What tests of real processes have in common.

use std::{net::TcpListener, time::Duration};
use tokio::time::Instant;

/// Longer than a loaded machine needs for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Exit code of a node whose port is taken.
pub(crate) const PORT_TAKEN: i32 = 66;

/// Looks until `look` answers; says what was waited for when it never does.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < end, "waited for {what}; last seen: {seen}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The four ports of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) clients: u16,
    pub(crate) peers: u16,
    pub(crate) admin: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// Ports that were free a moment ago, for `nodes` nodes.
    pub(crate) fn free(nodes: usize) -> Vec<Self> {
        let held: Vec<TcpListener> = (0..nodes * 4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|port| port.local_addr().unwrap().port()).collect();
        ports.chunks(4).map(|p| Self { clients: p[0], peers: p[1], admin: p[2], http: p[3] }).collect()
    }
}
