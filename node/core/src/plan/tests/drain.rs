//! Drains, one test per rule.

use super::toy::Toy;
use crate::{
    catalogue::{CloseMode, Kind, NodeState, ReplicaState},
    ids::{GroupId, NodeId},
    plan::{Action, WaitReason, plan},
};

#[test]
fn a_drain_moves_everything_and_the_node_leaves() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.declare("b", 1);
    toy.declare("c", 3);
    toy.settle();
    let retained = toy.find("c").unwrap();
    toy.run(Kind::Close { store: retained, mode: CloseMode::Retain, declared_by: "u".into() });
    let node = NodeId::new(toy.voters("a")[0]);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
    for store in ["a", "c"] {
        assert!(!toy.voters(store).contains(&node.get()));
        assert_eq!(toy.voters(store).len(), 3);
    }
    assert!(!toy.groups[&GroupId::SYSTEM].hosts.values().any(|n| *n == node));
    assert!(toy.c.groups.values().all(|g| g.replicas.values().all(|r| r.node != node)), "the node's data is gone");
}

#[test]
fn a_drained_node_hears_of_what_it_removes_before_it_leaves_the_system_group() {
    let mut toy = Toy::with_store(4, 3);
    let node = NodeId::new(toy.voters("a")[0]);
    toy.run(Kind::Drain(node));
    for _ in 0..100 {
        toy.pass();
        let heard = toy.groups[&GroupId::SYSTEM].hosts.values().any(|n| *n == node);
        let has_data = toy.c.groups.values().any(|g| g.replicas.values().any(|r| r.node == node));
        assert!(heard || !has_data);
    }
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_drain_that_does_not_fit_waits_and_goes_on_by_itself() {
    let mut toy = Toy::with_store(3, 3);
    let node = NodeId::new(3);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Draining);
    assert_eq!(toy.waiting(WaitReason::ScaleDownBlocked).unwrap().store, toy.find("a"));
    let draining = toy.waiting(WaitReason::Draining).unwrap().sentence;
    assert_eq!(draining, "store default/a has a replica on the node");
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_blocked_drain_costs_the_system_group_no_voter() {
    let mut toy = Toy::with_store(3, 3);
    toy.run(Kind::Drain(NodeId::new(3)));
    for _ in 0..20 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3);
    }
}

#[test]
fn the_drain_of_a_dead_node_ends_without_it() {
    // Three replicas on four nodes: the dead node's replica is replaced. One replica on three nodes: no replacement.
    for (nodes, replicas) in [(4, 3), (3, 1)] {
        let mut toy = Toy::with_store(nodes, 3);
        toy.declare("a", replicas);
        let node = toy.drain_a_voter_that_is_down();
        assert_eq!(toy.voters("a").len() as u64, u64::from(replicas));
        assert!(!toy.voters("a").contains(&node.get()), "the store does not wait");
        assert_eq!(toy.c.nodes[&node].state, NodeState::Draining, "the node may be restarting");
        toy.be_silent();
        toy.settle();
        assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: true });
        assert!(toy.c.groups.values().all(|g| g.replicas.values().all(|r| r.node != node)));
        let system = &toy.groups[&GroupId::SYSTEM];
        assert_eq!(system.configs[0].len(), if nodes == 4 { 3 } else { 2 });
        assert!(!system.hosts.values().any(|n| *n == node));
    }
}

#[test]
fn a_draining_node_that_comes_back_removes_its_data_itself() {
    let mut toy = Toy::with_store(4, 3);
    let node = toy.drain_a_voter_that_is_down();
    assert!(toy.waiting(WaitReason::Draining).unwrap().sentence.starts_with("the node does not answer; "));
    toy.down.clear();
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_drain_that_is_taken_back_leaves_no_old_data_under_new_replicas() {
    let mut toy = Toy::with_store(4, 3);
    let node = toy.drain_a_voter_that_is_down();
    toy.be_silent();
    toy.pass();
    toy.run(Kind::CancelDrain(node));
    let group = toy.group("a");
    assert!(still_has_data(&toy, group, node), "nothing is dropped while the node may come back");
    toy.down.clear();
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Member);
}

fn still_has_data(toy: &Toy, group: GroupId, node: NodeId) -> bool {
    toy.c.groups[&group].replicas.values().any(|r| r.node == node && r.state == ReplicaState::Leaving)
}

#[test]
fn the_only_copy_on_a_dead_node_keeps_its_drain_open() {
    let mut toy = Toy::with_store(3, 1);
    let node = toy.drain_a_voter_that_is_down();
    toy.be_silent();
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Draining, "the planner never gives up the only copy");
}

#[test]
fn a_drained_node_is_not_forgotten_before_the_system_group_has_committed_its_removal() {
    let mut toy = Toy::new(4);
    toy.slow = true;
    let node = NodeId::new(4);
    toy.run(Kind::Drain(node));
    while toy.groups[&GroupId::SYSTEM].hosts.values().any(|n| *n == node) {
        assert!(toy.pass() > 0, "the drained node stays in the system group");
    }
    assert!(!toy.groups[&GroupId::SYSTEM].membership_committed());
    let o = toy.observe();
    assert!(!plan(&toy.c, &o).actions.contains(&Action::Propose(Kind::Drained(node))));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_node_that_is_drained_says_what_the_drain_waits_for() {
    let mut toy = Toy::with_store(3, 3);
    let draining = |toy: &mut Toy| toy.waiting(WaitReason::Draining).unwrap().sentence;
    toy.run(Kind::Drain(NodeId::new(3)));
    assert_eq!(draining(&mut toy), "store default/a has a replica on the node");
    for (name, others) in [("b", 1), ("c", 2)] {
        toy.run(Kind::CancelDrain(NodeId::new(3)));
        toy.declare(name, 3);
        toy.settle();
        toy.run(Kind::Drain(NodeId::new(3)));
        let sentence = format!("store default/a and {others} others have a replica on the node");
        assert_eq!(draining(&mut toy), sentence);
    }
    let mut toy = Toy::with_store(4, 3);
    toy.drain_a_voter_that_is_down();
    let sentence = "the node does not answer; the node removes its data of store default/a";
    assert_eq!(draining(&mut toy), sentence);
    let mut toy = Toy::new(4);
    toy.run(Kind::Drain(NodeId::new(4)));
    assert_eq!(draining(&mut toy), "the system group still names the node");
}

#[test]
fn a_node_that_is_replaced_says_what_the_replacement_waits_for() {
    let mut toy = Toy::with_store(3, 3);
    toy.down.insert(NodeId::new(3));
    toy.run(Kind::Replace { old: NodeId::new(3), new: None });
    assert_eq!(toy.waiting(WaitReason::Replacing).unwrap().sentence, "store default/a has a replica on the node");
}
