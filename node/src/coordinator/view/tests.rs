#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use std::collections::BTreeSet;
use taffrail_core::{
    catalogue::{Command, Kind, RULES, Registration, apply},
    ids::{ClusterId, DiskId, ReplicaId},
    plan::{ClockReading, GroupObservation, NodeObservation, Waiting, clocks},
};
use uuid::Uuid;

/// A cluster of three nodes, all voters of the system group, whose clocks are ahead of the coordinator's clock by the given
/// numbers of seconds.
fn with_clocks(ahead_s: [i64; 3]) -> (Catalogue, ClusterObservation) {
    let mut catalogue = Catalogue::default();
    let mut o = ClusterObservation::default();
    for (id, ahead) in (1_u64..).zip(ahead_s) {
        let disk = DiskId::new(Uuid::from_u128(id.into()));
        let node =
            Registration { disk, name: format!("main-{}", id - 1), address: String::new(), version: String::new() };
        let cluster = ClusterId::new(Uuid::from_u128(9));
        let kind = if id == 1 { Kind::Init { cluster, first: node } } else { Kind::Register(node) };
        apply(&mut catalogue, &Command { rules: RULES, stamp_us: 1, kind }).unwrap();
        let clock = ClockReading { offset_us: ahead * 1_000_000, uncertainty_us: 0 };
        let seen = NodeObservation { reachable: true, clock: Some(clock), ..NodeObservation::default() };
        o.nodes.insert(NodeId::new(id), seen);
    }
    let voters: BTreeSet<ReplicaId> = (1..=3).map(ReplicaId::new).collect();
    o.groups.insert(GroupId::SYSTEM, GroupObservation { configs: vec![voters], ..GroupObservation::default() });
    (catalogue, o)
}

fn problems_of(ahead_s: [i64; 3]) -> Vec<v1::Problem> {
    let (catalogue, o) = with_clocks(ahead_s);
    problems(&Plan::default(), &clocks::problems(&catalogue, &o))
}

#[test]
fn a_wrong_clock_is_a_problem_of_its_own_kind_that_names_node_and_difference() {
    assert_eq!(problems_of([0, 0, 4]), []);
    let found = problems_of([0, 0, -90]);
    let [problem] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((problem.kind(), problem.node_id), (v1::ProblemKind::ClockDiffers, Some(3)));
    assert!(problem.message.contains("node 3 (main-2) is at least 60 s behind"), "{problem:?}");
}

#[test]
fn a_waiting_change_is_a_problem_of_another_kind_and_comes_after_the_clocks() {
    let (catalogue, o) = with_clocks([0, 7, 0]);
    let mut plan = Plan::default();
    let sentence = "node 1 drains".to_owned();
    let waiting = Waiting { store: None, node: Some(NodeId::new(1)), reason: WaitReason::Draining, sentence };
    plan.waiting = vec![waiting; PROBLEMS_MAX];
    let found = problems(&plan, &clocks::problems(&catalogue, &o));
    assert_eq!((found.len(), found[0].kind()), (PROBLEMS_MAX, v1::ProblemKind::ClockDiffers));
    assert!(found[1..].iter().all(|p| p.kind() == v1::ProblemKind::Waiting && p.node_id == Some(1)), "{found:?}");
}
