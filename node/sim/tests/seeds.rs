//! Seeds pass all checks, and the expected faults occur.

use std::{collections::BTreeMap, thread};
use taffrail_sim::{
    options::{Formers, Options},
    seed_range::run_seeds,
};

// As in the node: openraft allocates ring buffers in advance, and other allocators fill untouched buffers.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs seeds on all cores and returns all counts; panics with the commands that repeat the failing seeds.
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

/// Runs seeds that once failed, each with the length of the failing run.
#[test]
fn found_seeds_hold() {
    // A fetched state may be newer than the requested snapshot. The next built snapshot must not name a later entry than
    // consensus has applied, or the log is purged beyond the last entry.
    for seed in [26, 107, 109, 299] {
        hold(seed, 1, Options { fault_seconds: 12, ..Options::default() });
    }
    // A follower reported the catch-up of the old leader, which the follower had refused, as done to the new leader.
    hold(70591, 1, Options { fault_seconds: 8, ..Options::default() });
    // The source of a catch-up is removed during the catch-up, and the next leader still has the log.
    hold(1144, 1, Options { fault_seconds: 10, ..Options::default() });
}

/// Groups pass all checks when other replicas than the first, or several replicas at once, write the first membership,
/// before or after the group is formed.
#[test]
fn groups_hold_whoever_forms_them() {
    for formers in [Formers::All, Formers::Others] {
        hold(3000, 30, Options { formers, ..Options::default() });
    }
}

/// A fenced replica stays fenced through every crash, also through a crash between the fence mark and the stop of the
/// replica, and the other replicas continue.
#[test]
fn groups_hold_that_have_lost_a_replica_to_a_fence() {
    let counts = hold(4000, 40, Options { fences: true, ..Options::default() });
    assert!(counts.get("fences").is_some_and(|n| *n > 0), "nobody was fenced: {counts:?}");
}

#[test]
fn stretched_seeds_hold() {
    hold(500, 6, Options { stretch: 16, ..Options::default() });
}
