//! [`run_seeds`]: runs many seeds on one or more threads. Each run has a separate runtime, so the number of threads does
//! not affect the results.

use crate::{
    options::Options,
    run::{Report, run},
};
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

#[expect(clippy::disallowed_methods, reason = "threads around whole simulations, not inside a simulation")]
/// Runs seeds `from..from + seeds` on `jobs` threads and gives the reports to `each` in the order of the seeds.
pub fn run_seeds(from: u64, seeds: u64, jobs: usize, options: Options, mut each: impl FnMut(&Report)) {
    let next = AtomicU64::new(from);
    let end = from.saturating_add(seeds);
    let (tx, rx) = mpsc::sync_channel(jobs.max(1));
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (tx, next) = (tx.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || tx.send(run(seed, options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tx);
        let (mut early, mut expected) = (BTreeMap::new(), from);
        for report in rx {
            early.insert(report.seed, report);
            while let Some(report) = early.remove(&expected) {
                each(&report);
                expected += 1;
            }
        }
    });
}
