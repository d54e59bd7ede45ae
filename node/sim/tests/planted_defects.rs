//! The checks can fail: each defect planted in the environment is found within a few seeds.

use taffrail_sim::{options::Options, planted_defect::PlantedDefect, run::run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The failures of the first seed that finds the planted defect.
fn found(plant: PlantedDefect, seeds: u64) -> Vec<String> {
    let options = Options { plant: Some(plant), ..Options::default() };
    let found = (0..seeds).map(|seed| run(seed, options).failures).find(|failures| !failures.is_empty());
    assert!(found.is_some(), "{plant:?} is not found in {seeds} seeds");
    found.unwrap_or_default()
}

fn assert_says(failures: &[String], what: &str) {
    assert!(failures.iter().any(|f| f.contains(what)), "none of the failures says {what:?}: {failures:?}");
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    assert_says(&found(PlantedDefect::AckBeforeSync, 3), "no majority of disks has it");
}

#[test]
fn a_vote_before_the_sync_is_found() {
    assert_says(&found(PlantedDefect::VoteBeforeSync, 3), "granted vote");
}

#[test]
fn an_answer_without_delivery_is_found() {
    assert_says(&found(PlantedDefect::ForgedAnswer, 3), "no majority of disks has it");
}

#[test]
fn a_hole_in_the_log_after_a_crash_is_found() {
    assert_says(&found(PlantedDefect::ReorderedWrites, 60), "must follow");
}

#[test]
fn a_replica_that_applies_something_else_is_found() {
    assert_says(&found(PlantedDefect::OneAppliesDifferently, 3), "replica 2 has another digest than others");
}

#[test]
fn a_retry_under_new_ids_is_found() {
    // Either an append at the known end is refused, or a refused event is stored: the seed decides.
    assert_says(&found(PlantedDefect::FreshIdsOnRetry, 10), "refused");
}
