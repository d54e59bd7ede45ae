//! Ports and waiting for tests with real processes.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    sync::Mutex,
    time::Duration,
};
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

/// Below the ports that a system gives to connections that go out, so that none of them is ever in the way.
const FIRST_PORT: u16 = 10_000;
/// Nodes that may have ports at the same time, four each.
const NODES_MAX: u16 = 5_000;

/// A lock for each node whose ports this process has, until it ends.
static CLAIMS: Mutex<Vec<File>> = Mutex::new(Vec::new());

impl Ports {
    /// Ports of `nodes` nodes that no other test gets while this process lives: a node that is down for a while finds them
    /// as it left them.
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
