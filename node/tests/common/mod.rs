//! Ports and waiting for tests with real processes.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    sync::Mutex,
    time::Duration,
};
use tokio::time::Instant;

/// Time limit of a wait; longer than any wait takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Interval between two checks of a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Exit code of a node whose port is taken.
pub(crate) const PORT_TAKEN: i32 = 66;

/// Calls `look` until it returns `Ok`; fails with `what` and the last error after [`PATIENCE`].
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

/// Below the ephemeral ports of the system, which outgoing connections use.
const FIRST_PORT: u16 = 10_000;
/// Nodes that can hold ports at the same time, four ports each.
const NODES_MAX: u16 = 5_000;

/// Locks of the claimed ports, held until the process ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

impl Ports {
    /// Ports for `nodes` nodes, claimed until this process ends: no other test takes the ports of a node that is down.
    pub(crate) fn free(nodes: usize) -> Vec<Self> {
        (0..nodes).map(|_| Self::claim()).collect()
    }

    fn claim() -> Self {
        let dir = std::env::temp_dir().join("taffrail-test-ports");
        std::fs::create_dir_all(&dir).unwrap();
        let mut claims = CLAIMS.lock().unwrap();
        let begin = std::process::id() as usize * 64 + claims.len();
        for n in 0..usize::from(NODES_MAX) {
            let place = u16::try_from((begin + n) % usize::from(NODES_MAX)).unwrap();
            let claim = File::create(dir.join(place.to_string())).unwrap();
            let first = FIRST_PORT + place * 4;
            let unused = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if claim.try_lock().is_ok() && (first..first + 4).all(unused) {
                claims.push(claim);
                return Self { clients: first, peers: first + 1, admin: first + 2, http: first + 3 };
            }
        }
        panic!("all ports from {FIRST_PORT} on are taken");
    }
}
