//! Replacements of lost nodes, one test per rule.

use super::toy::{Toy, registration};
use crate::{
    catalogue::{CatalogueOutcome, GroupPhase, Kind, NodeState},
    ids::{GroupId, NodeId, ReplicaId},
    plan::WaitReason,
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

/// The successor registers first, so that the system group of four nodes grows to five voters, the lost voter included.
#[test]
fn a_lost_voter_leaves_when_its_successor_votes_before_the_replacement_begins() {
    let mut toy = Toy::with_store(4, 3);
    let lost = NodeId::new(2);
    toy.run(Kind::Register(registration(5)));
    toy.settle();
    assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 5, "the successor has added a vote");
    toy.down.insert(lost);
    toy.run(Kind::Replace { old: lost, new: Some(NodeId::new(5)) });
    toy.settle();
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Removed { forced: true });
    let voters = &toy.groups[&GroupId::SYSTEM].configs[0];
    assert!(voters.len() == 3 && !voters.contains(&ReplicaId::new(lost.get())), "{voters:?}");
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

/// Creates a store with three voters and a learner left behind, and takes the node of a follower down.
fn store_with_a_left_over_learner() -> (Toy, NodeId, NodeId) {
    let mut toy = Toy::with_store(4, 3);
    let free = NodeId::new((1..=4).find(|n| !toy.voters("a").contains(n)).unwrap());
    toy.add_learner("a", free);
    let m = &toy.groups[&toy.group("a")];
    let away = m.configs[0].iter().find(|r| **r != m.leader).map(|r| m.hosts[r]).unwrap();
    toy.down.insert(away);
    (toy, away, free)
}

#[test]
fn a_learner_left_behind_does_not_take_the_vote_of_a_voter_that_restarts() {
    let (mut toy, away, free) = store_with_a_left_over_learner();
    let group = toy.group("a");
    let version = toy.groups[&group].version;
    for _ in 0..20 {
        toy.pass();
    }
    assert!(toy.groups[&group].version == version && toy.voters("a").contains(&away.get()));
    let waits = toy.waiting(WaitReason::CatchingUp).unwrap().sentence;
    assert!(waits.contains(&format!("until node {away} answers")), "{waits}");
    toy.down.clear();
    toy.settle();
    assert!(toy.voters("a").contains(&away.get()) && toy.c.groups[&group].nodes().all(|n| n != free));
}

#[test]
fn a_learner_left_behind_takes_the_vote_of_a_voter_that_has_been_silent_for_a_minute() {
    let (mut toy, away, free) = store_with_a_left_over_learner();
    toy.be_silent();
    toy.settle();
    assert!(!toy.voters("a").contains(&away.get()) && toy.voters("a").contains(&free.get()));
}

#[test]
fn a_node_with_the_disruption_grant_may_restart_for_longer_than_a_minute() {
    let (mut toy, away, free) = store_with_a_left_over_learner();
    let grant = Kind::AcquireGrant { node: away, holder: "o".into(), ttl_us: 600_000_000 };
    assert_eq!(toy.run(grant), CatalogueOutcome::Done);
    toy.be_silent();
    toy.settle();
    assert!(toy.voters("a").contains(&away.get()));
    toy.run(Kind::ReleaseGrant { node: away, holder: "o".into() });
    toy.settle();
    assert!(toy.voters("a").contains(&free.get()), "the grant is over");
}

#[test]
fn a_store_of_one_replica_whose_node_is_lost_before_it_formed_is_formed_elsewhere() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    let (lost, group) = (toy.initializer("a"), toy.group("a"));
    toy.down.insert(lost);
    toy.lost.insert(lost);
    toy.settle();
    assert_eq!(toy.group("a"), group, "the node may restart");
    toy.run(Kind::Register(registration(4)));
    toy.run(Kind::Replace { old: lost, new: None });
    toy.settle();
    assert_ne!(toy.group("a"), group);
    assert!(toy.voters("a").len() == 1 && !toy.voters("a").contains(&lost.get()));
    assert_eq!(toy.c.groups[&toy.group("a")].phase, GroupPhase::Formed);
    assert_eq!(toy.c.nodes[&lost].state, NodeState::Removed { forced: true }, "the store does not hold the lost node");
}

#[test]
fn a_store_is_formed_elsewhere_after_a_minute_even_if_its_node_returns_later() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    let (away, group) = (toy.initializer("a"), toy.group("a"));
    toy.down.insert(away);
    toy.be_silent();
    toy.settle();
    assert_ne!(toy.group("a"), group);
    toy.down.clear();
    toy.settle();
    assert!(!toy.groups.contains_key(&group) && toy.voters("a").len() == 1);
}

#[test]
fn a_store_that_was_formed_is_never_formed_again() {
    let mut toy = Toy::with_store(3, 1);
    let group = toy.group("a");
    let lost = NodeId::new(toy.voters("a")[0]);
    toy.down.insert(lost);
    toy.be_silent();
    toy.settle();
    toy.run(Kind::Replace { old: lost, new: None });
    toy.settle();
    assert_eq!((toy.group("a"), toy.c.nodes[&lost].state), (group, NodeState::Replacing { by: None }));
}

#[test]
fn a_store_that_lost_most_of_its_nodes_before_it_formed_is_formed_elsewhere() {
    let mut toy = Toy::new(5);
    toy.declare("a", 3);
    let group = toy.group("a");
    let nodes: Vec<NodeId> = toy.c.groups[&group].nodes().take(2).collect();
    toy.down.insert(nodes[0]);
    toy.down.insert(nodes[1]);
    assert!(toy.majority(GroupId::SYSTEM), "the cluster itself goes on");
    toy.be_silent();
    toy.settle();
    assert_ne!(toy.group("a"), group);
    assert!(toy.voters("a").len() == 3 && nodes.iter().all(|n| !toy.voters("a").contains(&n.get())));
}
