//! [`World`]: randomness, time, trace, network and verdict of a run.
//!
//! The simulated environment draws all random numbers from the world, in the order of events. The nodes draw from scopes
//! with seeds from the world.
#![allow(clippy::disallowed_methods, reason = "tasks of the environment belong to no node and must outlive its crash")]

use crate::{diverged::Diverged, invariants::Invariants, lock::lock, network::Network, options::Options, trace::Trace};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_core::ids::{ClusterId, EventId, NodeId};
use taffrail_raft::log::LogKey;
use taffrail_raft::tuning::Tuning;
use tokio::time::Instant;

/// State of a run.
pub struct World {
    /// Options of the run.
    pub options: Options,
    /// Times and bounds of consensus in this run.
    pub tuning: Tuning,
    /// Id of the cluster.
    pub cluster: ClusterId,
    /// Endpoints and network faults.
    pub network: Network,
    /// Invariants, checked while the run goes on.
    pub invariants: Mutex<Invariants>,
    /// Diverged replicas.
    pub diverged: Diverged,
    start: Instant,
    random: Mutex<SmallRng>,
    trace: Mutex<Trace>,
    failures: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    replica_checks: OnceLock<ReplicaChecks>,
    calm: AtomicBool,
}

/// A check of a replica on a host.
pub type ReplicaCheck = Box<dyn Fn(LogKey, NodeId) + Send + Sync>;

/// Checks of replicas at moments known only to the environment.
pub struct ReplicaChecks {
    /// At the sync of the tombstone of a replica.
    pub removed: ReplicaCheck,
    /// While the replica installs the state of another replica.
    pub installing: ReplicaCheck,
    /// Before the write of the first entry of the replica's log, which holds the first membership.
    pub first_entry: ReplicaCheck,
}

/// Adds an event to a world's trace.
#[macro_export]
macro_rules! trace {
    ($world:expr, $($event:tt)*) => { $world.event(format_args!($($event)*)) };
}

impl World {
    /// Creates the world of a seed. Small purge thresholds make followers fall behind the log, and cause catch-ups.
    #[must_use]
    pub fn new(seed: u64, options: Options) -> Arc<Self> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut draw = |from: u64, to: u64| from + random.next_u64() % (to - from);
        let ms = |n: u64| Duration::from_millis(n) * options.stretch;
        // In half of the runs the sizes of the entries decide about purges, and not their number.
        let by_bytes = draw(0, 2) == 0;
        let usual = Tuning::default();
        // In a third of the runs a follower behind the leader gets few entries at once, with flushes and crashes in between.
        let one_by_one = draw(0, 3) == 0;
        let tuning = Tuning {
            heartbeat: ms(draw(60, 150)),
            election_min: ms(draw(300, 500)),
            election_max: ms(draw(600, 1000)),
            purge_after_entries: draw(10, 120),
            keep_entries: draw(2, 60),
            purge_after_bytes: if by_bytes { 256 << draw(0, 6) } else { usual.purge_after_bytes },
            keep_bytes: if by_bytes { 256 << draw(0, 6) } else { usual.keep_bytes },
            append_entries: if one_by_one { draw(1, 5) } else { usual.append_entries },
            ..usual
        };
        let cluster = u128::from(seed).to_be_bytes();
        Arc::new(Self {
            options,
            tuning,
            cluster: ClusterId::from_slice(&cluster).expect("an id has sixteen bytes"),
            network: Network::default(),
            invariants: Mutex::default(),
            diverged: Diverged::default(),
            start: Instant::now(),
            random: Mutex::new(random),
            trace: Mutex::new(Trace::new(options.trace)),
            failures: Mutex::default(),
            counts: Mutex::default(),
            replica_checks: OnceLock::new(),
            calm: AtomicBool::new(false),
        })
    }

    /// Ends the faults that follow events of the nodes.
    pub fn begin_calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// True after the last fault.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Sets the checks of replicas, once per run.
    pub fn check_replicas(&self, checks: ReplicaChecks) {
        if self.replica_checks.set(checks).is_err() {
            self.fail("the checks of replicas are set twice");
        }
    }

    /// The checks of replicas; `None` before [`check_replicas`](Self::check_replicas).
    #[must_use]
    pub fn replica_checks(&self) -> Option<&ReplicaChecks> {
        self.replica_checks.get()
    }

    /// A random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        lock(&self.random).next_u64()
    }

    /// A random number below `end`.
    #[must_use]
    pub fn below(&self, end: u64) -> u64 {
        self.random() % end.max(1)
    }

    /// A random number in `from..to`.
    #[must_use]
    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// True with a probability of `permille` in a thousand.
    #[must_use]
    pub fn chance(&self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A new event id.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        let bytes = ((u128::from(self.random()) << 64) | u128::from(self.random())).to_be_bytes();
        EventId::from_slice(&bytes).expect("an id has sixteen bytes")
    }

    /// A duration of `n` milliseconds, stretched.
    #[must_use]
    pub fn ms(&self, n: u64) -> Duration {
        Duration::from_millis(n) * self.options.stretch
    }

    /// A random time in a range of milliseconds, stretched.
    #[must_use]
    pub fn random_ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.between(from * 1000, to * 1000)) * self.options.stretch
    }

    /// Waits for a random time from [`World::random_ms`].
    pub async fn pause(&self, from_ms: u64, to_ms: u64) {
        tokio::time::sleep(self.random_ms(from_ms, to_ms)).await;
    }

    /// Spawns a task of the environment, independent of nodes.
    pub fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future)
    }

    /// Adds an event to the trace.
    pub fn event(&self, event: fmt::Arguments<'_>) {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        lock(&self.trace).add(micros, event);
    }

    /// Records a failure; the run continues to the end.
    pub fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        trace!(self, "FAIL {why}");
        lock(&self.failures).push(why);
    }

    /// Records the error of a check as a failure.
    pub fn require(&self, held: Result<(), String>) {
        if let Err(why) = held {
            self.fail(why);
        }
    }

    /// Counts something for the summary.
    pub fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// The count of a kind of event.
    #[must_use]
    pub fn counted(&self, what: &'static str) -> u64 {
        lock(&self.counts).get(what).copied().unwrap_or(0)
    }

    /// All counts by kind of event.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts).clone()
    }

    /// All failures so far.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    /// Events of the trace and their hash.
    #[must_use]
    pub fn sum(&self) -> (u64, String) {
        lock(&self.trace).sum()
    }
}
