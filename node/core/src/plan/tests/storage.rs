//! Leaderships on nodes whose disks are nearly full.

use super::toy::Toy;
use crate::{
    catalogue::{CloseMode, Kind},
    ids::{GroupId, NodeId},
    plan::{Action, ClusterObservation, plan},
};

/// Sets the free bytes of the nodes, by node id from 1; a disk with less than 100 free bytes is nearly full.
fn set(o: &mut ClusterObservation, free: &[u64]) {
    for (id, free_bytes) in (1..).map(NodeId::new).zip(free) {
        let node = o.nodes.get_mut(&id).unwrap();
        (node.free_bytes, node.storage_low) = (*free_bytes, *free_bytes < 100);
    }
}

/// The planned transfers: group, and node of the next leader.
fn transfers(toy: &Toy, o: &ClusterObservation) -> Vec<(GroupId, NodeId)> {
    let of = |action| if let Action::Transfer { group, to, .. } = action { Some((group, to)) } else { None };
    let all = plan(&toy.c, o).actions.into_iter().filter_map(of);
    all.map(|(group, to)| (group, o.groups[&group].hosts[&to])).collect()
}

/// Returns the nodes of store `a`: of the leader, then of the other voters.
fn nodes(toy: &Toy, o: &ClusterObservation) -> (NodeId, Vec<NodeId>) {
    let leader = o.groups[&toy.group("a")].leader_node;
    (leader, (1..=3).map(NodeId::new).filter(|n| *n != leader).collect())
}

/// Free bytes of the nodes 1 to 3: of the leader of `a`, and of the other two nodes in order.
fn free(leader: NodeId, of_leader: u64, others: [u64; 2]) -> Vec<u64> {
    let mut others = others.into_iter();
    (1..=3).map(|n| if NodeId::new(n) == leader { of_leader } else { others.next().unwrap() }).collect()
}

#[test]
fn the_leadership_of_a_store_moves_from_a_nearly_full_disk_to_the_roomiest_voter() {
    let mut toy = Toy::with_store(3, 3);
    let mut o = toy.observe();
    let (leader, others) = nodes(&toy, &o);
    set(&mut o, &free(leader, 500, [500, 900]));
    assert_eq!(transfers(&toy, &o), [], "a disk with room keeps its leaderships");
    set(&mut o, &free(leader, 50, [500, 900]));
    assert_eq!(transfers(&toy, &o), [(toy.group("a"), others[1])]);
    set(&mut o, &free(leader, 50, [900, 500]));
    assert_eq!(transfers(&toy, &o), [(toy.group("a"), others[0])]);
    set(&mut o, &free(leader, 50, [500, 60]));
    assert_eq!(transfers(&toy, &o), [(toy.group("a"), others[0])], "never to another nearly full disk");
}

#[test]
fn a_store_with_another_step_in_the_same_pass_keeps_its_leader() {
    let mut toy = Toy::with_store(3, 3);
    let mut o = toy.observe();
    let (leader, _) = nodes(&toy, &o);
    set(&mut o, &free(leader, 50, [500, 900]));
    let store = toy.find("a").unwrap();
    toy.run(Kind::Close { store, mode: CloseMode::Retain, declared_by: "u".into() });
    let actions = plan(&toy.c, &o).actions;
    assert!(matches!(actions[..], [Action::Settings { .. }]), "{actions:?}");
}

#[test]
fn without_a_roomier_caught_up_voter_the_leadership_stays() {
    let mut toy = Toy::with_store(3, 3);
    let mut o = toy.observe();
    let (leader, others) = nodes(&toy, &o);
    set(&mut o, &free(leader, 50, [40, 30]));
    assert_eq!(transfers(&toy, &o), [], "all disks are nearly full");
    set(&mut o, &free(leader, 50, [40, 900]));
    let group = toy.group("a");
    let behind = o.groups[&group].hosts.iter().find(|(_, node)| **node == others[1]).map(|(r, _)| *r).unwrap();
    o.close_since_us.remove(&(group, behind));
    assert_eq!(transfers(&toy, &o), [], "the roomy voter is behind");
}

#[test]
fn leaderships_are_not_balanced_towards_a_nearly_full_disk() {
    let mut toy = Toy::with_store(3, 3);
    for name in ["b", "c", "d"] {
        toy.declare(name, 3);
    }
    toy.settle();
    let mut o = toy.observe();
    // One node leads all stores, and another node has room.
    let leader = NodeId::new(1);
    for observed in o.groups.iter_mut().filter(|(id, _)| **id != GroupId::SYSTEM).map(|(_, g)| g) {
        observed.leader = observed.hosts.iter().find(|(_, node)| **node == leader).map(|(r, _)| *r).unwrap();
        observed.leader_node = leader;
    }
    set(&mut o, &[500, 500, 500]);
    assert_eq!(transfers(&toy, &o).len(), 1, "leaders are balanced");
    set(&mut o, &[500, 50, 500]);
    let moved = transfers(&toy, &o);
    assert!(moved.len() == 1 && moved[0].1 == NodeId::new(3), "{moved:?}");
    set(&mut o, &[500, 50, 50]);
    assert_eq!(transfers(&toy, &o), []);
}
