//! Replacements of lost nodes, one test per rule.

use super::toy::{Toy, registration};
use crate::{
    catalogue::{GroupPhase, Kind, NodeState},
    ids::{GroupId, NodeId, ReplicaId},
};

#[test]
fn a_lost_node_is_replaced_and_the_voters_never_fall() {
    let mut toy = Toy::with_store(3, 3);
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Register(registration(4)));
    toy.run(Kind::Replace { old: NodeId::new(2), new: Some(NodeId::new(4)) });
    let group = toy.group("a");
    for _ in 0..50 {
        toy.pass();
        assert_eq!(toy.groups[&group].configs[0].len(), 3);
    }
    toy.settle();
    assert_eq!(toy.voters("a"), [1, 3, 4]);
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Removed { forced: true });
}

#[test]
fn the_successor_comes_before_emptier_nodes() {
    let mut toy = Toy::with_store(5, 3);
    let old = NodeId::new(toy.voters("a")[0]);
    toy.down.insert(old);
    for name in ["b", "c"] {
        toy.declare(name, 1);
    }
    let free: Vec<NodeId> = toy.c.by_load().into_iter().filter(|n| !toy.voters("a").contains(&n.get())).collect();
    let successor = *free.last().unwrap();
    toy.run(Kind::Replace { old, new: Some(successor) });
    toy.settle();
    assert!(toy.voters("a").contains(&successor.get()));
}

#[test]
fn a_node_that_is_lost_before_it_formed_a_group_is_replaced_there_like_anywhere() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    let lost = toy.initializer("a");
    toy.down.insert(lost);
    toy.lost.insert(lost);
    toy.settle();
    assert_eq!(toy.c.groups[&toy.group("a")].phase, GroupPhase::Formed);
    toy.run(Kind::Replace { old: lost, new: None });
    toy.settle();
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Removed { forced: true });
    let voters = toy.voters("a");
    assert!(voters.len() == 3 && !voters.contains(&lost.get()), "{voters:?}");
}

#[test]
fn a_replacement_without_a_successor_keeps_the_voters_of_the_system_group() {
    let mut toy = Toy::new(3);
    toy.settle();
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Replace { old: NodeId::new(2), new: None });
    for _ in 0..20 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3);
    }
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Replacing { by: None }, "waits for a new node");
    toy.run(Kind::Register(registration(4)));
    for _ in 0..50 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3);
    }
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Removed { forced: true });
}

#[test]
fn a_replacement_beside_drains_ends_with_the_first_new_node() {
    let mut toy = Toy::new(3);
    let lost = NodeId::new(1);
    toy.down.insert(lost);
    toy.run(Kind::Replace { old: lost, new: None });
    for drained in [2, 3] {
        toy.run(Kind::Drain(NodeId::new(drained)));
    }
    toy.settle();
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Replacing { by: None }, "no node can vote instead");
    toy.run(Kind::Register(registration(4)));
    toy.settle();
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Removed { forced: true });
    let system = &toy.groups[&GroupId::SYSTEM];
    assert_eq!(system.hosts.values().copied().collect::<Vec<_>>(), [NodeId::new(4)]);
}

#[test]
fn a_node_whose_drain_is_blocked_votes_in_place_of_a_lost_node() {
    let mut toy = Toy::with_store(4, 3);
    let (lost, drained) = (NodeId::new(1), NodeId::new(2));
    assert!(toy.groups[&GroupId::SYSTEM].configs[0].contains(&ReplicaId::new(lost.get())), "the lost node votes");
    toy.down.insert(lost);
    toy.run(Kind::Drain(drained));
    toy.run(Kind::Replace { old: lost, new: None });
    for _ in 0..60 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3, "the number of voters never falls");
    }
    let voters: Vec<u64> = toy.groups[&GroupId::SYSTEM].configs[0].iter().map(|r| r.get()).collect();
    assert_eq!(voters, [2, 3, 4], "every voter answers");
    assert_eq!(toy.c.nodes[&drained].state, NodeState::Draining, "the store needs the node");
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Removed { forced: true });
}
