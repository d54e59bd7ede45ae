//! The coordinator dies before and after each write to the log, in every phase of the life of a cluster, and the cluster
//! reaches the same end as without the death. A supervisor restarts dead processes as the kubelet does; unanswered calls are
//! repeated as the operator does.
//!
//! A run has the six phases of `script::PHASES`. In each phase one process dies at the n-th arrival at one fault point, counted
//! over all processes, and the phase must settle before the next begins. The default is a selection of writes;
//! `TAFFRAIL_ALL_FAULT_POINTS=1` covers every write that a run without deaths makes.

use super::{
    script::{self, Done, PHASES},
    sweep,
};
use crate::harness::points::{Fault, Reached};
use std::rc::Rc;
use taffrail_core::catalogue::Kind;
use tokio::task::LocalSet;

/// Kinds of commands that no phase uses.
const NOT_NEEDED: [&str; 6] =
    ["cancel-drain", "form-again", "contradicted", "create-store", "remove-store", "raise-rules"];
/// Kinds of membership changes, each with a write of its own.
const CHANGES: [&str; 4] = ["first", "learners", "joint", "removal"];
/// Fault points that `make test` covers, by phase: requests of the operator, steps of the plan, membership changes, and
/// the removal of a replica.
const CHOICE: [[Option<&str>; PHASES.len()]; 3] = [
    [
        Some("catalogue-init-written"),
        Some("catalogue-declare-written"),
        Some("membership-joint-written"),
        Some("catalogue-drain-written"),
        Some("catalogue-replace-write"),
        Some("catalogue-close-written"),
    ],
    [
        Some("catalogue-register-written"),
        Some("catalogue-group-formed-write"),
        Some("membership-learners-write"),
        Some("catalogue-release-grant-write"),
        Some("catalogue-acquire-grant-written"),
        Some("catalogue-store-gone-write"),
    ],
    [None, None, None, Some("replica-rows-deleted"), None, Some("replica-tombstone-written")],
];

#[tokio::test]
async fn a_coordinator_that_dies_at_any_write_leads_to_the_same_end() {
    LocalSet::new().run_until(all()).await;
}

async fn all() {
    let calm = script::run("calm", &[const { None }; PHASES.len()]).await;
    assert!(calm.died.iter().all(|died| !died), "a process died without a planned death");
    for (phase, reached) in PHASES.iter().zip(&calm.reached) {
        println!("{phase:?}: {reached}");
    }
    every_write_has_a_point(&calm);
    if std::env::var_os("TAFFRAIL_ALL_FAULT_POINTS").is_some() {
        sweep::every_write(Rc::new(calm)).await;
    } else {
        sweep::some_writes(Rc::new(calm), CHOICE.map(|points| points.map(|point| point.map(at_first)))).await;
    }
}

fn at_first(point: &str) -> Fault {
    Fault { point: point.to_owned(), n: 1 }
}

/// Checks that each kind of command and of membership change has a fault point; a kind without a fault point would not be
/// covered by any run.
fn every_write_has_a_point(calm: &Done) {
    let times = |point: &str| calm.reached.iter().map(|reached| reached.of(point)).sum::<u64>();
    for kind in Kind::NAMES {
        let (before, after) = (times(&format!("catalogue-{kind}-write")), times(&format!("catalogue-{kind}-written")));
        let needed = !NOT_NEEDED.contains(kind);
        assert!(
            needed == (before > 0) && needed == (after > 0),
            "{kind}: {before} arrivals before the write, {after} after"
        );
    }
    for change in CHANGES {
        for point in [format!("membership-{change}-write"), format!("membership-{change}-written")] {
            assert!(times(&point) > 0, "{point}: never reached");
        }
    }
    let others = ["membership-uniform-written", "coordinator-change", "coordinator-changed"];
    for point in others.into_iter().chain(["replica-tombstone-written", "replica-rows-deleted"]) {
        assert!(times(point) > 0, "{point}: never reached");
    }
    for point in calm.reached.iter().flat_map(Reached::points) {
        assert!(!point.contains("-same-"), "{point}: a change without effect was written");
    }
}
