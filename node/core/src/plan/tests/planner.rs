//! Groups that a planner leaves out. The toy cluster compares every plan of the changed groups with the plan of all groups.

use super::{
    divergence::members,
    observation::{GROUP, look, replica, settled},
    toy::Toy,
};
use crate::{
    catalogue::{CloseMode, Kind},
    ids::{GroupId, NodeId, ReplicaId},
    plan::{ClusterObservation, NodeObservation, Plan, Planner, observation::CAUGHT_UP_US},
};
use std::collections::BTreeSet;

/// An idle cluster of three nodes with three settled stores.
fn idle() -> Toy {
    let mut toy = Toy::new(3);
    for name in ["a", "b", "c"] {
        toy.declare(name, 3);
    }
    toy.settle();
    toy.writing = false;
    toy.quiet_down();
    toy
}

#[test]
fn settled_groups_are_left_out_until_their_reports_change() {
    let mut toy = idle();
    toy.pass();
    assert_eq!(toy.left_out(), 3);
    let group = toy.group("a");
    toy.groups.get_mut(&group).unwrap().committed += 1;
    toy.pass();
    assert_eq!(toy.left_out(), 2, "the group with new entries is planned");
    toy.quiet_down();
    assert_eq!(toy.left_out(), 3);
}

#[test]
fn all_groups_are_planned_after_a_command_of_the_catalogue_and_while_a_node_does_not_answer() {
    let mut toy = idle();
    let store = toy.find("a").unwrap();
    toy.run(Kind::Close { store, mode: CloseMode::Retain, declared_by: "u".into() });
    assert!(toy.pass() > 0, "the store is closed in its log");
    assert_eq!(toy.left_out(), 0);
    toy.quiet_down();
    assert_eq!(toy.left_out(), 3);
    toy.down.insert(NodeId::new(3));
    toy.pass();
    toy.pass();
    assert_eq!(toy.left_out(), 0);
}

#[test]
fn all_groups_are_planned_in_every_hundredth_pass() {
    let mut toy = idle();
    let full = (0..250).filter(|_| {
        toy.pass();
        toy.left_out() == 0
    });
    let full: Vec<u32> = full.collect();
    assert!(full.len() >= 2 && full.windows(2).all(|two| two[1] - two[0] == 100), "{full:?}");
}

#[test]
fn a_node_that_answers_again_with_the_same_reports_is_compared_again() {
    let mut toy = idle();
    let group = toy.group("a");
    let (replica, node) = toy.groups[&group].hosts.iter().next().map(|(r, n)| (*r, *n)).unwrap();
    toy.down.insert(node);
    toy.quiet_down();
    toy.divergent.insert((group, replica));
    toy.down.remove(&node);
    let o = toy.observe();
    assert!(o.disagreeing.is_some_and(|groups| groups.contains(&group)));
}

#[test]
fn a_group_is_left_out_only_if_its_replicas_are_known_to_agree() {
    let c = members(3);
    let mut calm = settled([0, CAUGHT_UP_US].map(|now_us| look(now_us, 100, &[100, 100, 100])));
    calm.changed = Some(BTreeSet::new());
    for (disagreeing, left_out) in [(Some(BTreeSet::new()), 1), (Some([GROUP].into()), 0), (None, 0)] {
        let (mut planner, o) = (Planner::default(), ClusterObservation { disagreeing, ..calm.clone() });
        for left_out in [0, left_out, left_out] {
            assert_eq!(planner.plan(&c, &o), Plan::default());
            assert_eq!(planner.left_out, left_out, "{:?}", o.disagreeing);
        }
    }
}

/// A set of replicas in the report of a node.
type Part = fn(&mut NodeObservation) -> &mut BTreeSet<(GroupId, ReplicaId)>;

#[test]
fn a_group_with_an_open_removal_fence_or_broken_replica_is_never_left_out() {
    let (c, key) = (members(3), (GROUP, replica(9)));
    let mut calm = settled([0, CAUGHT_UP_US].map(|now_us| look(now_us, 100, &[100, 100, 100])));
    calm.changed = Some(BTreeSet::new());
    let cases: [(&str, Part); 3] =
        [("a removal", |n| &mut n.deleted), ("a fence", |n| &mut n.fenced), ("a broken replica", |n| &mut n.broken)];
    for (case, of) in cases {
        // A former replica of the group, so that the plan says nothing of the group.
        let (mut planner, mut o) = (Planner::default(), calm.clone());
        of(o.nodes.get_mut(&NodeId::new(1)).unwrap()).insert(key);
        for _ in 0..3 {
            assert_eq!((planner.plan(&c, &o), planner.left_out), (Plan::default(), 0), "{case}");
        }
    }
}
