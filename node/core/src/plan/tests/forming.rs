//! Groups that are being formed, one test per rule: how long a group waits for its first members, and what the store's status says.

use super::toy::Toy;
use crate::{
    catalogue::{CatalogueOutcome, GroupPhase, Kind, NodeState, Replica, ReplicaState},
    ids::{GroupId, NodeId, ReplicaId},
    plan::{
        Action, ClusterObservation, GroupObservation, WaitReason, observation::SILENT_US, plan, settle::BROKEN_AGAIN_US,
    },
};
use std::collections::BTreeSet;

/// Sentence of the store's wait for a leader.
fn leaderless(toy: &Toy, o: &ClusterObservation) -> String {
    plan(&toy.c, o).waiting.into_iter().find(|w| w.reason == WaitReason::NoLeader).unwrap().sentence
}

/// Nodes on which the plan forms the group again; `None` if the group keeps waiting.
fn formed_again(toy: &Toy, o: &ClusterObservation, group: GroupId) -> Option<BTreeSet<NodeId>> {
    plan(&toy.c, o).actions.into_iter().find_map(|action| {
        let Action::Propose(Kind::FormAgain { group: of, nodes }) = action else { return None };
        (of == group).then_some(nodes)
    })
}

#[test]
fn a_store_without_a_leader_says_whether_its_group_is_new() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    let o = toy.observe();
    assert_eq!(leaderless(&toy, &o), "the group is being formed");
    toy.settle();
    let mut o = toy.observe();
    o.groups.remove(&toy.group("a"));
    assert_eq!(leaderless(&toy, &o), "the group has no leader");
}

/// Declares a store of `replicas` on `nodes` nodes, and makes the nodes of the first `lost` replicas silent.
fn unformed(nodes: u64, replicas: u32, lost: usize) -> (Toy, ClusterObservation, GroupId) {
    let mut toy = Toy::new(nodes);
    toy.declare("a", replicas);
    let group = toy.group("a");
    toy.down.extend(toy.c.groups[&group].nodes().take(lost));
    toy.be_silent();
    let o = toy.observe();
    (toy, o, group)
}

#[test]
fn a_group_waits_for_its_first_members_until_one_is_lost() {
    for (replicas, lost, waits) in
        [(1, 0, true), (1, 1, false), (3, 0, true), (3, 1, false), (3, 2, false), (5, 0, true), (5, 1, false)]
    {
        let (toy, o, group) = unformed(9, replicas, lost);
        let nodes = formed_again(&toy, &o, group);
        assert_eq!(nodes.is_none(), waits, "{lost} of {replicas} replicas are lost");
        let answer = |nodes: BTreeSet<NodeId>| nodes.len() == replicas as usize && nodes.is_disjoint(&toy.down);
        assert!(nodes.is_none_or(answer), "the new group needs the full number of nodes that answer");
    }
}

#[test]
fn half_of_the_first_members_cannot_form_a_group() {
    let (mut toy, _, group) = unformed(5, 3, 0);
    let record = toy.c.groups.get_mut(&group).unwrap();
    let third = *record.replicas.keys().last().unwrap();
    record.replicas.remove(&third);
    let GroupPhase::Creating { initial, .. } = &mut record.phase else { panic!("the group is formed already") };
    initial.remove(&third);
    let lost = record.nodes().next().unwrap();
    let o = toy.observe();
    assert_eq!(formed_again(&toy, &o, group), None, "both are left");
    toy.down.insert(lost);
    toy.be_silent();
    let o = toy.observe();
    assert!(formed_again(&toy, &o, group).is_some_and(|nodes| nodes.len() == 3 && !nodes.contains(&lost)));
}

#[test]
fn a_group_is_formed_again_on_other_nodes_than_the_node_of_a_broken_replica_if_possible() {
    for (nodes, again) in [(3, true), (4, false)] {
        let (mut toy, _, group) = unformed(nodes, 3, 0);
        let (replica, node) = toy.c.groups[&group].replicas.iter().map(|(id, r)| (*id, r.node)).next().unwrap();
        toy.broken.insert((group, replica));
        let o = toy.observe();
        let formed = formed_again(&toy, &o, group).expect("a replica that cannot start forms no group");
        assert_eq!(formed.contains(&node), again, "{nodes} nodes");
    }
}

/// Breaks the only replica of the store, lets the plan form the group again, and returns the node of the new replica; `None` if
/// the group keeps waiting.
fn after_a_break(toy: &mut Toy) -> Option<NodeId> {
    let group = toy.group("a");
    let replica = *toy.c.groups[&group].replicas.keys().next().unwrap();
    toy.broken.insert((group, replica));
    let o = toy.observe();
    let nodes = formed_again(toy, &o, group)?;
    toy.run(Kind::FormAgain { group, nodes });
    toy.c.groups[&toy.group("a")].nodes().next()
}

#[test]
fn nodes_that_break_every_replica_are_passed_over_and_get_one_replica_an_hour() {
    let (mut toy, _, group) = unformed(3, 1, 0);
    let first = toy.c.groups[&group].nodes().next().unwrap();
    let second = after_a_break(&mut toy).unwrap();
    let third = after_a_break(&mut toy).unwrap();
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3, "every node is tried before a node is tried again");
    let fourth = after_a_break(&mut toy).unwrap();
    assert_eq!(after_a_break(&mut toy), None, "node {fourth} breaks its second replica within the hour");
    toy.now_us += BROKEN_AGAIN_US;
    let o = toy.observe();
    assert!(formed_again(&toy, &o, toy.group("a")).is_some(), "an hour later, the break counts again");
}

#[test]
fn a_group_whose_leader_lost_its_majority_before_the_group_was_formed_is_formed_again() {
    let (toy, mut o, group) = unformed(6, 3, 2);
    let leader = *toy.c.groups[&group].replicas.keys().last().unwrap();
    o.groups.insert(group, GroupObservation { leader, quorum: false, ..GroupObservation::default() });
    assert!(formed_again(&toy, &o, group).is_some());
    o.groups.get_mut(&group).unwrap().quorum = true;
    assert_eq!(formed_again(&toy, &o, group), None, "the majority may still form the group");
}

#[test]
fn a_group_is_not_formed_again_with_too_few_nodes() {
    let (toy, o, group) = unformed(3, 3, 2);
    assert_eq!(formed_again(&toy, &o, group), None);
}

/// Change of the record of a group with a single replica, and of the observation.
type Change = fn(&mut Toy, &mut ClusterObservation, GroupId, ReplicaId, NodeId);

fn only_replica(toy: &mut Toy, group: GroupId) -> &mut Replica {
    toy.c.groups.get_mut(&group).unwrap().replicas.values_mut().next().unwrap()
}

/// Makes the node unreachable for a moment or for the time after which a node is silent.
fn away(o: &mut ClusterObservation, node: NodeId, for_us: u64) {
    o.nodes.get_mut(&node).unwrap().reachable = false;
    o.silent_since_us.insert(node, o.now_us);
    o.now_us += for_us;
}

#[test]
fn a_replica_takes_part_in_forming_a_group_while_it_may_run() {
    let cases: [(&str, bool, Change); 11] = [
        ("the node answers", true, |_, _, _, _, _| {}),
        ("the replica leaves", false, |toy, _, g, _, _| only_replica(toy, g).state = ReplicaState::Leaving),
        ("the node removed the replica", false, |_, o, g, r, n| {
            o.nodes.get_mut(&n).unwrap().deleted.insert((g, r));
        }),
        ("the replica is fenced", false, |_, o, g, r, n| {
            o.nodes.get_mut(&n).unwrap().fenced.insert((g, r));
        }),
        ("the replica is broken", false, |toy, o, g, r, n| {
            o.nodes.get_mut(&n).unwrap().broken.insert((g, r));
            o.broken_since_us.insert((toy.c.groups[&g].store, n), ((g, r), o.now_us));
        }),
        ("the node may restart", true, |_, o, _, _, n| away(o, n, 1)),
        ("the node is silent", false, |_, o, _, _, n| away(o, n, SILENT_US)),
        ("the silent node has the disruption grant", true, |toy, o, _, _, n| {
            let granted = toy.run(Kind::AcquireGrant { node: n, holder: "o".into(), ttl_us: 10 * SILENT_US });
            assert_eq!(granted, CatalogueOutcome::Done);
            away(o, n, SILENT_US);
        }),
        ("the node is replaced", false, |toy, o, _, _, n| {
            toy.c.nodes.get_mut(&n).unwrap().state = NodeState::Replacing { by: None };
            away(o, n, 1);
        }),
        ("the node is removed", false, |toy, o, _, _, n| {
            toy.c.nodes.get_mut(&n).unwrap().state = NodeState::Removed { forced: true };
            away(o, n, 1);
        }),
        ("the node is drained", true, |toy, o, _, _, n| {
            toy.c.nodes.get_mut(&n).unwrap().state = NodeState::Draining;
            away(o, n, 1);
        }),
    ];
    for (case, may_form, change) in cases {
        let (mut toy, mut o, group) = unformed(3, 1, 0);
        let node = only_replica(&mut toy, group).node;
        let replica = toy.c.groups[&group].on(node).unwrap();
        change(&mut toy, &mut o, group, replica, node);
        assert_eq!(formed_again(&toy, &o, group).is_none(), may_form, "{case}");
    }
}

#[test]
fn a_formed_group_is_not_recorded_as_formed_again() {
    let mut toy = Toy::with_store(3, 3);
    let group = toy.group("a");
    assert_eq!(toy.c.groups[&group].phase, GroupPhase::Formed);
    let o = toy.observe();
    assert!(!plan(&toy.c, &o).actions.contains(&Action::Propose(Kind::GroupFormed(group))));
}
