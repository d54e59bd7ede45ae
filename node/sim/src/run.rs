//! [`run`]: a single seed, and the report of the run.

use crate::{options::Options, panic_capture, play::play, world::World};
use std::{collections::BTreeMap, fmt};
use tokio::runtime::{Builder, RngSeed};

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
        let acknowledged = play(&world).await;
        (world, acknowledged)
    });
    drop(runtime);
    for panic in panic_capture::take() {
        world.fail(format!("panic: {panic}"));
    }
    let (events, hash) = world.sum();
    Report { seed, hash, events, acknowledged, counts: world.counts(), failures: world.failures() }
}
