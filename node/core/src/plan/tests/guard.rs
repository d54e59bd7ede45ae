//! Disruption guard, one test per rule.

use super::toy::{Toy, registration};
use crate::{
    catalogue::Kind,
    ids::{GroupId, NodeId},
    plan::{ClusterObservation, guard::guard},
};

#[test]
fn the_guard_counts_caught_up_voters_only() {
    let mut toy = Toy::with_store(3, 3);
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_ok());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    let blocked = guard(&toy.c, &o, NodeId::new(1)).unwrap_err();
    assert!(blocked.sentence.contains("caught-up"), "{}", blocked.sentence);
    assert!(guard(&toy.c, &o, NodeId::new(2)).is_ok(), "the node that is already down is not protected");
}

#[test]
fn the_guard_sees_a_replica_that_stands_still() {
    let mut toy = Toy::with_store(3, 3);
    let group = toy.group("a");
    let leader = toy.groups[&group].leader;
    let still = *toy.groups[&group].configs[0].iter().find(|r| **r != leader).unwrap();
    toy.stalled.insert((group, still));
    for _ in 0..4 {
        toy.pass();
    }
    let o = toy.observe();
    let node = toy.groups[&group].hosts[&leader];
    assert_eq!(guard(&toy.c, &o, node).unwrap_err().group, group);
}

#[test]
fn the_guard_ignores_single_voters_and_refuses_the_unknown() {
    let mut toy = Toy::with_store(3, 1);
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(toy.voters("a")[0])).is_ok());
    assert_eq!(guard(&toy.c, &ClusterObservation::default(), NodeId::new(1)).unwrap_err().group, GroupId::SYSTEM);
    let mut alone = Toy::new(1);
    let o = alone.observe();
    assert!(guard(&alone.c, &o, NodeId::new(1)).is_ok(), "the only voter of the system group");
    toy.declare("b", 3);
    toy.settle();
    let mut o = toy.observe();
    let group = toy.group("b");
    o.groups.remove(&group);
    assert_eq!(guard(&toy.c, &o, NodeId::new(1)).unwrap_err().group, group);
    // A store that grows from one replica has two recorded replicas for a time.
    let record = toy.c.groups.get_mut(&group).unwrap();
    record.replicas.retain(|_, r| r.node != NodeId::new(3));
    assert_eq!(guard(&toy.c, &o, NodeId::new(1)).unwrap_err().group, group);
}

#[test]
fn a_store_of_one_replica_does_not_hold_its_node() {
    let mut toy = Toy::with_store(3, 1);
    let node = NodeId::new(toy.voters("a")[0]);
    let group = toy.group("a");
    let mut o = toy.observe();
    o.groups.remove(&group);
    assert!(guard(&toy.c, &o, node).is_ok());
}

#[test]
fn voters_that_are_behind_hold_the_nodes_of_voters_only() {
    let mut toy = Toy::with_store(4, 3);
    let mut o = toy.observe();
    o.close_since_us.clear();
    let system: Vec<u64> = o.groups[&GroupId::SYSTEM].voters().iter().map(|r| r.get()).collect();
    assert_eq!((system, toy.voters("a")), (vec![1, 2, 3], vec![1, 2, 3]));
    for n in 1..=4 {
        assert_eq!(guard(&toy.c, &o, NodeId::new(n)).is_ok(), n == 4, "node {n}");
    }
}

#[test]
fn a_store_without_a_leader_holds_the_nodes_of_its_replicas_only() {
    let mut toy = Toy::with_store(4, 3);
    let group = toy.group("a");
    let mut o = toy.observe();
    o.groups.remove(&group);
    for n in 1..=4 {
        let held = guard(&toy.c, &o, NodeId::new(n)).err().map(|blocked| blocked.group);
        assert_eq!(held, toy.voters("a").contains(&n).then_some(group), "node {n}");
    }
}

#[test]
fn two_nodes_are_let_go_one_at_a_time() {
    let mut toy = Toy::with_store(2, 1);
    assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 2);
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_ok());
    assert!(guard(&toy.c, &o, NodeId::new(2)).is_ok());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_err(), "the other node is already down");
}

#[test]
fn two_nodes_that_are_not_caught_up_are_not_let_go() {
    let mut toy = Toy::new(2);
    toy.settle();
    let leader = toy.groups[&GroupId::SYSTEM].leader;
    let other = *toy.groups[&GroupId::SYSTEM].configs[0].iter().find(|r| **r != leader).unwrap();
    toy.stalled.insert((GroupId::SYSTEM, other));
    for _ in 0..4 {
        toy.pass();
    }
    let o = toy.observe();
    assert_eq!(guard(&toy.c, &o, NodeId::new(leader.get())).unwrap_err().group, GroupId::SYSTEM);
}

#[test]
fn two_voters_of_three_nodes_are_not_let_go() {
    let mut toy = Toy::new(2);
    toy.settle();
    toy.down.insert(NodeId::new(3));
    toy.run(Kind::Register(registration(3)));
    for _ in 0..6 {
        toy.pass();
    }
    let o = toy.observe();
    assert_eq!(o.groups[&GroupId::SYSTEM].voters().len(), 2);
    assert_eq!(guard(&toy.c, &o, NodeId::new(1)).unwrap_err().group, GroupId::SYSTEM);
}
