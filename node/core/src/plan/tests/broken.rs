//! Replacement of replicas that fail at every start, one test per rule.

use super::{
    observation::{GROUP, catalogue},
    toy::Toy,
};
use crate::{
    ids::{GroupId, NodeId, ReplicaId},
    plan::{
        ClusterObservation, NodeObservation, WaitReason, guard::guard, observation::Loss, settle::BROKEN_AGAIN_US,
        status,
    },
};
use std::collections::BTreeSet;

/// Creates a store with three replicas on a cluster of `nodes` nodes, and breaks a follower.
fn store_with_broken_replica(nodes: u64) -> (Toy, GroupId, ReplicaId) {
    let mut toy = Toy::with_store(nodes, 3);
    let group = toy.group("a");
    let leader = toy.groups[&group].leader;
    let broken = *toy.groups[&group].configs[0].iter().find(|r| **r != leader).unwrap();
    toy.broken.insert((group, broken));
    (toy, group, broken)
}

#[test]
fn a_broken_replica_is_replaced_on_another_node_and_goes_afterwards() {
    let (mut toy, group, broken) = store_with_broken_replica(4);
    let old = toy.groups[&group].hosts[&broken];
    while toy.voters("a").contains(&old.get()) {
        assert!(toy.pass() > 0 || !toy.is_quiet(), "the broken replica is never replaced");
        let (kept, voters) = (!toy.deleted.contains(&(group, broken)), toy.groups[&group].configs[0].len());
        assert!(kept && voters == 3, "the data is removed last, and the number of voters does not fall");
    }
    toy.settle();
    assert!(toy.deleted.contains(&(group, broken)) && !toy.c.groups[&group].replicas.contains_key(&broken));
}

#[test]
fn a_broken_replica_is_replaced_on_its_own_node_if_there_is_no_other_and_then_blocks_nobody() {
    let (mut toy, group, broken) = store_with_broken_replica(3);
    let old = toy.groups[&group].hosts[&broken];
    let other = NodeId::new(toy.voters("a").into_iter().find(|n| *n != old.get()).unwrap());
    let o = toy.observe();
    assert!(guard(&toy.c, &o, other).is_err(), "two of three replicas would be away");
    assert!(guard(&toy.c, &o, old).is_ok(), "the node of the broken replica may restart");
    let planned = crate::plan::plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &planned, toy.find("a").unwrap()).unwrap();
    assert_eq!(seen.reason, Some(WaitReason::ReplicaBroken));
    assert!(seen.waiting_for.contains(&format!("replica {broken} on node {old} is broken")), "{}", seen.waiting_for);
    toy.settle();
    assert_eq!(toy.voters("a").into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    assert!(toy.c.groups[&group].on(old).is_some_and(|new| new != broken), "the new replica has a new id");
    let o = toy.observe();
    assert!((1..=3).all(|n| guard(&toy.c, &o, NodeId::new(n)).is_ok()), "every node may be taken down");
}

#[test]
fn a_replacement_of_a_broken_replica_goes_on_while_its_node_is_away() {
    let (mut toy, group, broken) = store_with_broken_replica(4);
    let old = toy.groups[&group].hosts[&broken];
    while toy.c.groups[&group].replicas.len() < 4 {
        assert!(toy.pass() > 0, "no new replica is added");
    }
    toy.down.insert(old);
    toy.settle();
    assert!(!toy.voters("a").contains(&old.get()));
}

#[test]
fn a_node_that_breaks_every_replica_gets_one_new_replica_an_hour() {
    let (mut toy, group, first) = store_with_broken_replica(3);
    let node = toy.groups[&group].hosts[&first];
    toy.settle();
    let second = toy.c.groups[&group].on(node).unwrap();
    toy.broken.insert((group, second));
    for _ in 0..20 {
        toy.pass();
    }
    assert_eq!(toy.c.groups[&group].on(node), Some(second), "replaced again within the hour");
    toy.now_us += BROKEN_AGAIN_US;
    toy.settle();
    assert!(toy.c.groups[&group].on(node).is_some_and(|third| third != first && third != second));
}

#[test]
fn a_later_replica_counts_as_broken_an_hour_after_the_first() {
    let (group, node) = (GROUP, NodeId::new(1));
    let (first, later) = (ReplicaId::new(1_000), ReplicaId::new(1_001));
    let look = |now_us: u64, replica: ReplicaId, before: &ClusterObservation| {
        let seen = NodeObservation { reachable: true, broken: [(group, replica)].into(), ..NodeObservation::default() };
        let mut o = ClusterObservation { now_us, nodes: [(node, seen)].into(), ..ClusterObservation::default() };
        o.settle(&catalogue(1), before);
        o
    };
    let before = look(5, first, &ClusterObservation::default());
    assert_eq!(before.loss(group, first, node), Some(Loss::Broken));
    for (after_us, loss) in [(10, None), (BROKEN_AGAIN_US - 1, None), (BROKEN_AGAIN_US, Some(Loss::Broken))] {
        assert_eq!(look(5 + after_us, later, &before).loss(group, later, node), loss, "{after_us}");
    }
}

#[test]
fn a_broken_replica_keeps_its_data_without_a_majority_of_others() {
    let (mut toy, group, broken) = store_with_broken_replica(3);
    let leader = toy.groups[&group].leader;
    let other = *toy.groups[&group].configs[0].iter().find(|r| **r != leader && **r != broken).unwrap();
    toy.broken.clear();
    toy.stalled.insert((group, other));
    toy.quiet_down();
    assert!(!toy.last.close(group, other), "the other follower is behind");
    toy.broken.insert((group, broken));
    for _ in 0..20 {
        toy.pass();
    }
    assert!(!toy.deleted.contains(&(group, broken)));
    assert!(toy.waiting(WaitReason::NoQuorum).is_some() && toy.groups[&group].configs[0].contains(&broken));
    let waiting = toy.waiting(WaitReason::ReplicaBroken).unwrap();
    assert!(waiting.sentence.contains("broken"), "{}", waiting.sentence);
}

#[test]
fn a_single_voter_never_becomes_one_of_two_voters() {
    let mut toy = Toy::with_store(3, 1);
    toy.declare("a", 3);
    let group = toy.group("a");
    while toy.c.groups[&group].replicas.len() < 3 {
        assert!(toy.pass() > 0, "no replicas are added");
    }
    let voter = *toy.groups[&group].configs[0].first().unwrap();
    let broken = *toy.c.groups[&group].replicas.keys().rfind(|r| **r != voter).unwrap();
    toy.broken.insert((group, broken));
    for _ in 0..200 {
        toy.pass();
        assert_ne!(toy.voters("a").len(), 2);
    }
    assert_eq!(toy.voters("a").len(), 3, "a new replica takes the place of the broken learner");
}
