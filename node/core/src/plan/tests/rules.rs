//! One test a rule; those of replicas that are odd are in `fences`.

use super::{
    super::*,
    toy::{Carry, Toy, registration},
};
use crate::catalogue::{CatalogueOutcome, CloseMode, GroupPhase, NodeState, ReplicaState};

pub(super) fn waits(toy: &mut Toy, reason: &str) -> Option<Waiting> {
    let o = toy.observe();
    plan(&toy.c, &o).waiting.into_iter().find(|w| w.reason == reason)
}

#[test]
fn the_system_group_grows_to_its_rule() {
    for (nodes, voters) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (7, 5)] {
        let toy = Toy::new(nodes);
        let m = &toy.groups[&GroupId::SYSTEM];
        assert_eq!(m.configs[0].len(), voters, "{nodes} nodes");
        assert_eq!(m.hosts.len() as u64, nodes);
    }
}

#[test]
fn a_store_grows_and_shrinks_in_one_change_each() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.voters("a").len(), 1);
    toy.declare("a", 3);
    toy.settle();
    assert_eq!(toy.voters("a"), [1, 2, 3]);
    let group = toy.group("a");
    let before = toy.groups[&group].version;
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.voters("a").len(), 1);
    assert_eq!(toy.c.groups[&group].replicas.len(), 1, "what no longer votes is gone");
    assert_eq!(toy.groups[&group].version, before + 1, "three to one is one change");
}

#[test]
fn a_change_that_was_left_half_done_is_finished() {
    for (from, to) in [(1, 3), (3, 1), (3, 5)] {
        let mut toy = Toy::new(5);
        toy.declare("a", from);
        toy.settle();
        toy.declare("a", to);
        let group = toy.group("a");
        for _ in 0..40 {
            if toy.groups[&group].configs.len() == 1 {
                toy.pass_until(usize::MAX, Carry::ToTheJointState);
            }
        }
        let o = toy.observe();
        assert!(o.groups[&group].joint());
        assert!(guard(&toy.c, &o, toy.groups[&group].hosts[&toy.groups[&group].leader]).is_err());
        let newer = o.groups[&group].configs[1].clone();
        let finishes = |a: &Action| matches!(a, Action::ChangeMembership { group: g, voters, .. } if *g == group && *voters == newer);
        assert!(plan(&toy.c, &o).actions.iter().any(finishes));
        toy.settle();
        assert_eq!(toy.voters("a").len(), to as usize, "{from} to {to}");
    }
}

#[test]
fn a_replica_that_is_behind_is_not_promoted() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    toy.declare("a", 3);
    let group = toy.group("a");
    let leader = toy.groups[&group].leader;
    for _ in 0..30 {
        let learners = toy.c.groups[&group].replicas.keys().filter(|r| **r != leader);
        let behind = learners.max().map(|r| (group, *r));
        toy.stalled = behind.into_iter().collect();
        toy.pass();
    }
    assert_eq!(toy.voters("a").len(), 1);
    let waiting = waits(&mut toy, "Growing").unwrap();
    assert!(waiting.sentence.contains("catches up"), "{}", waiting.sentence);
    toy.stalled.clear();
    toy.settle();
    assert_eq!(toy.voters("a").len(), 3);
}

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
    assert!(toy.c.groups.values().all(|g| g.replicas.values().all(|r| r.node != node)), "its data is gone");
}

#[test]
fn a_drained_node_hears_of_what_it_removes_before_it_leaves_the_system_group() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.settle();
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
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let node = NodeId::new(3);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Draining);
    assert_eq!(waits(&mut toy, "ScaleDownBlocked").unwrap().store, toy.find("a"));
    let draining = waits(&mut toy, "Draining").unwrap().sentence;
    assert_eq!(draining, "store default/a has a replica on the node");
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_lost_node_is_replaced_and_the_voters_never_fall() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
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
    let mut toy = Toy::new(5);
    toy.declare("a", 3);
    toy.settle();
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
fn new_replicas_go_to_nodes_that_answer() {
    let mut toy = Toy::new(5);
    toy.declare("a", 3);
    toy.settle();
    let free: Vec<NodeId> = toy.c.by_load().into_iter().filter(|n| !toy.voters("a").contains(&n.get())).collect();
    toy.down.insert(free[0]);
    let leaves = NodeId::new(toy.voters("a")[0]);
    toy.run(Kind::Drain(leaves));
    for _ in 0..40 {
        toy.pass();
    }
    assert!(toy.voters("a").contains(&free[1].get()));
    let group = toy.group("a");
    assert!(toy.c.groups[&group].nodes().all(|n| n != free[0]));
}

#[test]
fn without_a_majority_nothing_is_touched() {
    let mut toy = Toy::new(5);
    toy.declare("a", 3);
    toy.settle();
    let voters = toy.voters("a");
    toy.down.extend(voters[..2].iter().map(|n| NodeId::new(*n)));
    let group = toy.group("a");
    let before = (toy.groups[&group].version, toy.c.groups[&group].clone());
    for _ in 0..20 {
        toy.pass();
    }
    assert_eq!((toy.groups[&group].version, toy.c.groups[&group].clone()), before);
    let sentence = waits(&mut toy, "NoLeader").unwrap().sentence;
    assert!(sentence.contains(&format!("no answer from node {}, {}", voters[0], voters[1])), "{sentence}");
}

#[test]
fn a_group_that_cannot_be_formed_names_the_node_that_is_to_form_it() {
    for (replicas, in_its_place) in [(3, "; another one does it in its place"), (1, "")] {
        let mut toy = Toy::new(3);
        toy.declare("a", replicas);
        let node = forms(&toy, "a");
        toy.down.extend(toy.c.groups[&toy.group("a")].nodes());
        toy.pass();
        let sentence = waits(&mut toy, "NoLeader").unwrap().sentence;
        assert_eq!(sentence, format!("node {node}, which forms the group, does not answer{in_its_place}"));
        toy.down.clear();
        toy.settle();
        assert_eq!(toy.voters("a").len(), replicas as usize);
    }
}

/// The node that is to form a store's group.
fn forms(toy: &Toy, store: &str) -> NodeId {
    let group = &toy.c.groups[&toy.group(store)];
    let GroupPhase::Creating { initializer, .. } = &group.phase else { panic!("it is formed already") };
    group.replicas[initializer].node
}

#[test]
fn a_node_that_is_lost_before_it_formed_a_group_is_replaced_there_like_anywhere() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    let lost = forms(&toy, "a");
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
fn a_replica_that_its_node_removed_by_mistake_is_replaced_on_the_spot() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let group = toy.group("a");
    let lost = *toy.groups[&group].configs[0].last().unwrap();
    let node = toy.groups[&group].hosts[&lost];
    toy.deleted.insert((group, lost));
    for _ in 0..40 {
        toy.pass();
        assert_eq!(toy.groups[&group].configs[0].len(), 3, "the voters never fall");
    }
    toy.settle();
    assert!(!toy.groups[&group].hosts.contains_key(&lost));
    assert_eq!(toy.c.groups[&group].replicas.values().filter(|r| r.node == node).count(), 1);
    assert!(toy.c.groups[&group].replicas.values().all(|r| r.state == ReplicaState::Active));
}

#[test]
fn removal_goes_on_when_nodes_die_in_the_middle() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let id = toy.find("a").unwrap();
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    for _ in 0..20 {
        toy.pass();
    }
    assert!(toy.c.stores.contains_key(&id), "one node has not said that its data is gone");
    toy.down.clear();
    toy.settle();
    assert!(toy.c.stores.is_empty() && toy.c.groups.is_empty());
}

#[test]
fn removal_does_not_wait_for_a_node_that_is_replaced() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.settle();
    let id = toy.find("a").unwrap();
    let node = NodeId::new(toy.voters("a")[1]);
    toy.down.insert(node);
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    toy.run(Kind::Replace { old: node, new: None });
    toy.settle();
    assert!(toy.c.stores.is_empty() && toy.c.groups.is_empty());
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: true });
}

#[test]
fn the_guard_counts_caught_up_voters_only() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_ok());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    let blocked = guard(&toy.c, &o, NodeId::new(1)).unwrap_err();
    assert!(blocked.sentence.contains("caught-up"), "{}", blocked.sentence);
    assert!(guard(&toy.c, &o, NodeId::new(2)).is_ok(), "the node that is out already may go");
}

#[test]
fn the_guard_sees_a_replica_that_stands_still() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
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
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(toy.voters("a")[0])).is_ok());
    assert_eq!(guard(&toy.c, &ClusterObservation::default(), NodeId::new(1)).unwrap_err().group, GroupId::SYSTEM);
    toy.declare("b", 3);
    toy.settle();
    let mut o = toy.observe();
    o.groups.remove(&toy.group("b"));
    assert_eq!(guard(&toy.c, &o, NodeId::new(1)).unwrap_err().group, toy.group("b"));
}

fn leaders(toy: &Toy) -> Vec<usize> {
    let of = |n: &NodeId| toy.c.groups.keys().filter(|g| toy.groups[g].hosts[&toy.groups[g].leader] == *n).count();
    let mut counts: Vec<usize> = toy.c.members().map(|n| of(&n)).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn leaders_are_spread_and_then_left_alone() {
    let mut toy = Toy::new(3);
    for i in 0..9 {
        toy.declare(&format!("s{i}"), 3);
    }
    toy.settle();
    // Node 3 takes all of them, as after a roll.
    for group in toy.c.groups.keys().copied().collect::<Vec<_>>() {
        let m = toy.groups.get_mut(&group).unwrap();
        m.leader = *m.hosts.iter().find(|(_, n)| n.get() == 3).unwrap().0;
    }
    assert_eq!(leaders(&toy), [0, 0, 9]);
    let grant = Kind::AcquireGrant { node: NodeId::new(1), holder: "o".into(), ttl_us: 60_000_000 };
    assert_eq!(toy.run(grant), CatalogueOutcome::Done);
    for _ in 0..10 {
        assert_eq!(toy.pass(), 0, "not while a node is out");
    }
    toy.run(Kind::ReleaseGrant { node: NodeId::new(1), holder: "o".into() });
    for _ in 0..20 {
        assert!(toy.pass() <= 1, "one leader at a time");
    }
    let spread = leaders(&toy);
    assert!(spread[2] - spread[0] <= 2, "{spread:?}");
    assert!(toy.is_quiet());
}

#[test]
fn views_say_what_is_and_what_it_waits_for() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    let id = toy.find("a").unwrap();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && seen.fully_replicated && seen.reason.is_empty() && seen.members.len() == 3);
    let node = status::node(&toy.c, &o, &now, NodeId::new(1));
    assert_eq!(node.named_by, [GroupId::SYSTEM, toy.group("a")]);
    assert!(node.caught_up && node.blocked_by.is_empty() && node.waiting_for.is_empty());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && !seen.fully_replicated);
    assert_eq!(seen.reason, "CatchingUp");
    assert!(status::node(&toy.c, &o, &now, NodeId::new(1)).blocked_by.contains("caught-up"));
    assert!(!status::node(&toy.c, &o, &now, NodeId::new(2)).caught_up);
}

#[test]
fn a_blocked_drain_costs_the_system_group_no_voter() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    toy.settle();
    toy.run(Kind::Drain(NodeId::new(3)));
    for _ in 0..20 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3);
    }
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
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Replacing { by: None }, "it waits for a node to come");
    toy.run(Kind::Register(registration(4)));
    for _ in 0..50 {
        toy.pass();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 3);
    }
    assert_eq!(toy.c.nodes[&NodeId::new(2)].state, NodeState::Removed { forced: true });
}

#[test]
fn a_store_of_one_replica_does_not_hold_its_node() {
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    let node = NodeId::new(toy.voters("a")[0]);
    let group = toy.group("a");
    let mut o = toy.observe();
    o.groups.remove(&group);
    assert!(guard(&toy.c, &o, node).is_ok());
}

#[test]
fn the_drain_of_a_dead_node_ends_without_it() {
    // Three of four nodes, then one of three: the dead node's replica is replaced, or not needed any more.
    for (nodes, replicas) in [(4, 3), (3, 1)] {
        let mut toy = Toy::new(nodes);
        toy.declare("a", 3);
        toy.settle();
        let node = NodeId::new(toy.voters("a")[2]);
        toy.down.insert(node);
        toy.declare("a", replicas);
        toy.run(Kind::Drain(node));
        toy.settle();
        assert_eq!(toy.voters("a").len() as u64, u64::from(replicas));
        assert!(!toy.voters("a").contains(&node.get()), "the store does not wait");
        assert_eq!(toy.c.nodes[&node].state, NodeState::Draining, "it may only be starting again");
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
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.settle();
    let node = NodeId::new(toy.voters("a")[2]);
    toy.down.insert(node);
    toy.run(Kind::Drain(node));
    toy.settle();
    assert!(waits(&mut toy, "Draining").unwrap().sentence.starts_with("the node does not answer; "));
    toy.down.clear();
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: false });
}

#[test]
fn a_drain_that_is_taken_back_leaves_no_old_data_under_new_replicas() {
    let mut toy = Toy::new(4);
    toy.declare("a", 3);
    toy.settle();
    let node = NodeId::new(toy.voters("a")[2]);
    toy.down.insert(node);
    toy.run(Kind::Drain(node));
    toy.settle();
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
    let mut toy = Toy::new(3);
    toy.declare("a", 1);
    toy.settle();
    let node = NodeId::new(toy.voters("a")[0]);
    toy.down.insert(node);
    toy.run(Kind::Drain(node));
    toy.settle();
    toy.be_silent();
    toy.settle();
    assert_eq!(toy.c.nodes[&node].state, NodeState::Draining, "data is never given up");
}

#[test]
fn two_nodes_are_let_go_one_at_a_time() {
    let mut toy = Toy::new(2);
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.groups[&GroupId::SYSTEM].configs[0].len(), 2);
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_ok());
    assert!(guard(&toy.c, &o, NodeId::new(2)).is_ok());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    assert!(guard(&toy.c, &o, NodeId::new(1)).is_err(), "the other one is out");
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
