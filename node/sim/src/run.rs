//! [`run`]: a single seed, from the faults through the calm to the verdict.

use crate::{
    checks,
    clients::{self, Client},
    cluster, faults,
    host::{Host, Hosts},
    lock::lock,
    membership,
    options::Options,
    panic_capture, trace,
    world::{NODES, World},
};
use std::{collections::BTreeMap, fmt, sync::Arc};
use taffrail_core::ids::NodeId;
use tokio::{
    runtime::{Builder, RngSeed},
    sync::{mpsc, watch},
    time::Instant,
};

/// Number of appending clients.
const CLIENTS: u64 = 5;
/// Number of clients without appends.
const READERS: u64 = 2;
/// Capacity of the queue of crash requests.
const WISHES_MAX: usize = 4;
/// Milliseconds between the last fault and the end of the resulting restarts and cuts.
const SETTLE_MS: u64 = 3200;

/// Result of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Seed of the run.
    pub seed: u64,
    /// Hash of the trace.
    pub hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Number of acknowledged appends.
    pub acknowledged: usize,
    /// Counts by kind of event.
    pub counts: BTreeMap<&'static str, u64>,
    /// Texts of the failed checks.
    pub failures: Vec<String>,
}

impl Report {
    /// The count of a kind of event.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} hash {} events {} acked {}", self.seed, self.hash, self.events, self.acknowledged)?;
        write!(f, " elections {} crashes {}", self.count("elections"), self.count("crashes"))?;
        write!(f, " moves {} catchups {}", self.count("moves"), self.count("catch-ups"))?;
        if let Some(why) = self.failures.first() {
            write!(f, " FAILED ({} times): {why}", self.failures.len())?;
        }
        Ok(())
    }
}

/// Runs a seed on a new runtime.
///
/// # Panics
/// When the operating system cannot create a runtime.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    panic_capture::start();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .expect("a runtime without I/O needs nothing but memory");
    let (world, acknowledged) = runtime.block_on(async {
        let world = World::new(seed, options);
        let acknowledged = if options.cluster {
            cluster::run::play(&world).await
        } else {
            play(&world).await;
            lock(&world.invariants).acknowledged.len()
        };
        (world, acknowledged)
    });
    drop(runtime);
    for panic in panic_capture::take() {
        world.fail(format!("panic: {panic}"));
    }
    let (events, hash) = world.sum();
    Report { seed, hash, events, acknowledged, counts: world.counts(), failures: world.failures() }
}

/// Runs the replicas of a single group.
async fn play(world: &Arc<World>) {
    let (crash_now, wishes) = mpsc::channel(WISHES_MAX);
    let made = (1..=NODES).map(|n| Host::new(Arc::clone(world), NodeId::new(n), crash_now.clone()));
    let hosts = match made.collect::<Result<Vec<_>, _>>() {
        Ok(hosts) => Arc::new(Hosts(hosts)),
        Err(e) => return world.fail(format!("no memory environment: {e}")),
    };
    world.network.weather(10, 20);
    hosts.0.iter().for_each(Host::start);
    let until = Instant::now() + world.ms(u64::from(world.options.fault_seconds) * 1000);
    let (stop, stopped) = watch::channel(false);
    let moving = world.spawn(membership::run(Arc::clone(world), Arc::clone(&hosts), until));
    let mut working = Vec::new();
    for n in 0..CLIENTS {
        let client = Client::new(Arc::clone(world), Arc::clone(&hosts), n);
        working.push(world.spawn(client.run(stopped.clone())));
    }
    for _ in 0..READERS {
        working.push(world.spawn(clients::reader(Arc::clone(world), Arc::clone(&hosts), stopped.clone())));
    }
    faults::run(Arc::clone(world), Arc::clone(&hosts), until, wishes).await;

    trace!(world, "calm");
    world.network.weather(0, 0);
    tokio::time::sleep(world.ms(SETTLE_MS)).await;
    world.network.heal_all();
    if tokio::time::timeout(world.ms(30_000), moving).await.is_err() {
        world.fail("a move of a replica does not end after the calm");
    }
    stop.send_replace(true);
    for task in working {
        if tokio::time::timeout(world.ms(30_000), task).await.is_err() {
            world.fail("a client does not end after the calm");
        }
    }
    verdict(world, &hosts).await;
    hosts.end();
}

async fn verdict(world: &Arc<World>, hosts: &Arc<Hosts>) {
    checks::converge(world, hosts).await;
    checks::accept(world, hosts).await;
    if world.chance(300) {
        // All acknowledged events must be recovered from the disks alone.
        trace!(world, "last power cut");
        hosts.0.iter().for_each(|h| h.crash());
        hosts.0.iter().for_each(Host::start);
        checks::converge(world, hosts).await;
        checks::accept(world, hosts).await;
    }
    checks::converge(world, hosts).await;
    checks::content(world, hosts);
    checks::nothing_left_behind(world, hosts);
}
