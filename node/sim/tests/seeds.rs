//! Seeds hold, and the faults that they are about did happen.

use std::{collections::BTreeMap, thread};
use taffrail_sim::{
    options::{Formers, Options},
    seed_range::run_seeds,
};

// As in the node: consensus sets rings aside that stay untouched, and other allocators fill them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs seeds on all cores; panics with what a person needs to run a failing one again. Returns all counts.
fn hold(from: u64, seeds: u64, options: Options) -> BTreeMap<&'static str, u64> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let (mut failed, mut counts, mut hashes) = (Vec::new(), BTreeMap::new(), Vec::new());
    run_seeds(from, seeds, jobs, options, |report| {
        for (what, n) in &report.counts {
            *counts.entry(*what).or_default() += n;
        }
        hashes.push(report.hash.clone());
        if !report.failures.is_empty() {
            failed.push(format!("{report}\n  again: make sim FROM={} SEEDS=1", report.seed));
        }
    });
    assert!(failed.is_empty(), "{} of {seeds} seeds failed:\n{}", failed.len(), failed.join("\n"));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, seeds, "different seeds must give different runs");
    counts
}

#[test]
fn two_hundred_seeds_hold_and_meet_every_fault() {
    let counts = hold(1000, 200, Options::default());
    let faults = [
        "crashes",
        "power cuts",
        "aimed crashes",
        "cuts",
        "slow disks",
        "weather changes",
        "repeated frames",
        "unknown outcomes",
        "hand-overs",
        "elections",
        "moves",
        "joint changes ended by another leader",
        "catch-ups",
        "catch-ups cut short",
        "crashes in a catch-up",
        "reads",
    ];
    for what in faults {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "no {what} in two hundred seeds: {counts:?}");
    }
}

/// Seeds that failed once, with the length that they failed at.
#[test]
fn found_seeds_hold() {
    // A state that was caught up on may be newer than the snapshot that asked for it; a snapshot built next must not name
    // more than consensus has applied, or the log is purged beyond its end.
    for seed in [26, 107, 109, 299] {
        hold(seed, 1, Options { fault_seconds: 12, ..Options::default() });
    }
    // A follower told a new leader that the catch-up was done which the old leader had begun, and it had refused.
    hold(70591, 1, Options { fault_seconds: 8, ..Options::default() });
    // The source of a catch-up is removed in the middle of it, and the next leader still has the log.
    hold(1144, 1, Options { fault_seconds: 10, ..Options::default() });
}

/// Whoever makes the first membership, and however many do so at once, before or after a group was formed without them.
#[test]
fn groups_hold_whoever_forms_them() {
    for formers in [Formers::All, Formers::Others] {
        hold(3000, 30, Options { formers, ..Options::default() });
    }
}

/// A fenced replica stays fenced through every crash, also one that comes between its mark and its end, and the others go on.
#[test]
fn groups_hold_that_have_lost_a_replica_to_a_fence() {
    let counts = hold(4000, 40, Options { fences: true, ..Options::default() });
    assert!(counts.get("fences").is_some_and(|n| *n > 0), "nobody was fenced: {counts:?}");
}

#[test]
fn stretched_seeds_hold() {
    hold(500, 6, Options { stretch: 16, ..Options::default() });
}
