//! Whole nodes under faults: seeds pass all checks, and the expected faults and operations occur.

use std::{collections::BTreeMap, thread};
use taffrail_sim::{options::Options, planted_defect::PlantedDefect, run::run, seed_range::run_seeds};

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
            failed.push(format!("{report}\n  again: taffrail-sim --from {} --seeds 1 --cluster --trace", report.seed));
        }
    });
    assert!(failed.is_empty(), "{} of {seeds} seeds failed:\n{}", failed.len(), failed.join("\n"));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, seeds, "different seeds must give different runs");
    counts
}

#[test]
fn fifty_clusters_hold_and_meet_every_fault_and_operation() {
    let counts = hold(1, 50, Options::cluster());
    let kinds = [
        "clusters formed",
        "crashes",
        "power cuts",
        "aimed crashes",
        "cuts",
        "one-way cuts",
        "slow disks",
        "full disks",
        "appends refused for full disks",
        "weather changes",
        "bandwidth changes",
        "repeated frames",
        "hand-overs",
        "elections",
        "catch-ups",
        "reads",
        "unknown outcomes",
        "not proposed",
        "abandoned appends",
        "drains",
        "drains cancelled",
        "retired disks",
        "lost disks",
        "replaced nodes",
        "clocks far ahead",
        "grants",
        "stores deleted",
        "appends to short-lived stores",
        "writers of deleted stores",
    ];
    for what in kinds {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "no {what} in fifty seeds: {counts:?}");
    }
}

/// The failures of the first seed that finds the planted defect.
fn found(plant: PlantedDefect, seeds: u64) -> Vec<String> {
    let options = Options { plant: Some(plant), ..Options::cluster() };
    let found = (0..seeds).map(|seed| run(seed, options).failures).find(|failures| !failures.is_empty());
    assert!(found.is_some(), "{plant:?} is not found in {seeds} seeds");
    found.unwrap_or_default()
}

fn assert_says(failures: &[String], what: &str) {
    assert!(failures.iter().any(|f| f.contains(what)), "none of the failures says {what:?}: {failures:?}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    assert_says(&found(PlantedDefect::AckBeforeSync, 5), "no majority of");
}

#[test]
fn a_vote_before_the_sync_is_found() {
    assert_says(&found(PlantedDefect::VoteBeforeSync, 5), "granted vote");
}

#[test]
fn an_answer_without_delivery_is_found() {
    let failures = found(PlantedDefect::ForgedAnswer, 5);
    // Consensus itself may notice first that a follower lacks an entry that it has confirmed.
    let noticed = failures.iter().any(|f| f.contains("log reversion"));
    assert!(noticed || failures.iter().any(|f| f.contains("no majority of")), "{failures:?}");
}

#[test]
fn a_hole_in_the_log_after_a_crash_is_found() {
    found(PlantedDefect::ReorderedWrites, 40);
}

#[test]
fn a_replica_that_applies_something_else_is_found() {
    assert_says(&found(PlantedDefect::OneAppliesDifferently, 5), "has another digest than others");
}

#[test]
fn a_retry_under_new_ids_is_found() {
    assert_says(&found(PlantedDefect::FreshIdsOnRetry, 20), "is refused");
}
