//! [`ClockWatch`]: logs the problems about clocks found by the coordinator, and keeps the largest difference for the metrics.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use taffrail_core::plan::{
    ClusterObservation,
    clocks::{self, ClockProblem},
};

/// Problems about clocks on the coordinator's node. Written by the coordinator, read by the metrics.
#[derive(Debug, Default)]
pub struct ClockWatch {
    problems: Mutex<BTreeSet<String>>,
    differs_us: AtomicU64,
}

impl ClockWatch {
    /// Logs the problems that the observation before did not have, and the end of the last problem.
    pub fn observe(&self, problems: Vec<ClockProblem>, observed: &ClusterObservation) {
        let differs = clocks::deviations(observed).iter().map(|d| d.differs_us).max();
        self.differs_us.store(differs.unwrap_or(0), Ordering::Relaxed);
        let new: BTreeSet<String> = problems.into_iter().map(|p| p.sentence).collect();
        let mut known = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in new.difference(&known) {
            tracing::warn!(%problem, "clocks differ");
        }
        if new.is_empty() && !known.is_empty() {
            tracing::info!("the clocks agree again");
        }
        *known = new;
    }

    /// Forgets the problems, when this node no longer coordinates.
    pub fn forget(&self) {
        self.differs_us.store(0, Ordering::Relaxed);
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the largest reported difference of a clock from the median clock, in seconds; 0 on a node that does not
    /// coordinate.
    #[must_use]
    pub fn differs_seconds(&self) -> f64 {
        std::time::Duration::from_micros(self.differs_us.load(Ordering::Relaxed)).as_secs_f64()
    }
}
