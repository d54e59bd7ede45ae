//! Status of stores and nodes.

use super::{
    observation::{GROUP, catalogue, look, replica, settled},
    toy::Toy,
};
use crate::{
    catalogue::{Catalogue, GroupPhase, ReplicaState, Store, StoreState},
    ids::{GroupId, NodeId},
    plan::{ClusterObservation, Plan, WaitReason, Waiting, observation::CAUGHT_UP_US, plan, status},
};

#[test]
fn status_of_stores_and_nodes_says_what_they_wait_for() {
    let mut toy = Toy::with_store(3, 3);
    let id = toy.find("a").unwrap();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && seen.fully_replicated && seen.reason.is_none() && seen.members.len() == 3);
    let node = status::node(&toy.c, &o, &now, NodeId::new(1));
    assert_eq!(node.named_by, [GroupId::SYSTEM, toy.group("a")]);
    assert!(node.caught_up && node.blocked_by.is_empty() && node.waiting_for.is_empty());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && !seen.fully_replicated);
    assert_eq!(seen.reason, Some(WaitReason::CatchingUp));
    assert!(status::node(&toy.c, &o, &now, NodeId::new(1)).blocked_by.contains("caught-up"));
    assert!(!status::node(&toy.c, &o, &now, NodeId::new(2)).caught_up);
}

/// Observes a settled group of three replicas; replica 1 leads on node 1.
fn calm() -> (Catalogue, ClusterObservation) {
    let steps = [0, CAUGHT_UP_US].map(|now_us| look(now_us, 100, &[100, 100, 100]));
    (catalogue(3), settled(steps))
}

fn of_store(c: &Catalogue, o: &ClusterObservation) -> status::StoreStatus {
    let id = *c.stores.keys().next().unwrap();
    status::store(c, o, &Plan::default(), id).unwrap()
}

#[test]
fn the_status_of_a_store_lists_leader_voters_and_learners() {
    let (c, mut o) = calm();
    let seen = o.groups.get_mut(&GROUP).unwrap();
    seen.term = 4;
    seen.configs = vec![[replica(1), replica(2)].into()];
    o.close_since_us.remove(&(GROUP, replica(2)));
    let seen = of_store(&c, &o);
    assert_eq!((seen.leader, seen.term), (Some(NodeId::new(1)), 4));
    let members = seen.members.iter().map(|m| (m.node.get(), m.voter, m.leader, m.caught_up)).collect::<Vec<_>>();
    assert_eq!(members, [(1, true, true, true), (2, true, false, false), (3, false, false, true)]);
}

/// Change of a catalogue and an observation.
type Change = fn(&mut Catalogue, &mut ClusterObservation);

#[test]
fn a_store_is_whole_with_all_voters_close_in_a_formed_group_that_does_not_change() {
    let (c, o) = calm();
    let seen = of_store(&c, &o);
    assert!(seen.fully_replicated && seen.quorum && seen.reason.is_none() && seen.waiting_for.is_empty());
    let cases: [(&str, Change); 6] = [
        ("a voter is missing", |c, _| store(c, |s| s.replicas = 5)),
        ("a voter is behind", |_, o| o.close_since_us.retain(|(_, r), _| *r != replica(3))),
        ("a replica joins", |c, _| {
            let record = c.groups.get_mut(&GROUP).unwrap();
            record.replicas.get_mut(&replica(3)).unwrap().state = ReplicaState::Joining;
        }),
        ("the group is not formed", |c, _| {
            let (initial, initializer) = ([replica(1)].into(), replica(1));
            c.groups.get_mut(&GROUP).unwrap().phase = GroupPhase::Creating { initial, initializer };
        }),
        ("the membership is joint", |_, o| {
            let seen = o.groups.get_mut(&GROUP).unwrap();
            seen.configs = vec![seen.voters(), seen.voters()];
        }),
        ("the membership is not committed", |_, o| o.groups.get_mut(&GROUP).unwrap().committed = 0),
    ];
    for (case, change) in cases {
        let (mut c, mut o) = calm();
        change(&mut c, &mut o);
        let seen = of_store(&c, &o);
        assert!(!seen.fully_replicated && seen.quorum, "{case}");
        assert_eq!((seen.reason, &*seen.waiting_for), (Some(WaitReason::CatchingUp), "replicas catch up"), "{case}");
    }
}

fn store(c: &mut Catalogue, change: fn(&mut Store)) {
    let (id, mut store) = c.stores.iter().map(|(id, store)| (*id, store.clone())).next().unwrap();
    change(&mut store);
    c.stores.insert(id, store);
}

#[test]
fn a_store_that_is_closed_or_has_no_quorum_is_not_whole_and_does_not_catch_up() {
    let cases: [(&str, bool, Change); 4] = [
        ("retained", true, |c, _| store(c, |s| s.state = StoreState::Retained { at_us: 1 })),
        ("being removed", true, |c, _| store(c, |s| s.state = StoreState::Removing)),
        ("without a majority", false, |_, o| o.groups.get_mut(&GROUP).unwrap().quorum = false),
        ("without a leader", false, |_, o| o.groups.clear()),
    ];
    for (case, quorum, change) in cases {
        let (mut c, mut o) = calm();
        change(&mut c, &mut o);
        let seen = of_store(&c, &o);
        assert_eq!((seen.fully_replicated, seen.quorum, seen.reason), (false, quorum, None), "{case}");
    }
}

#[test]
fn the_status_of_a_node_counts_its_groups_and_leaders() {
    let (c, o) = calm();
    let of_node = |o: &ClusterObservation, n: u64| status::node(&c, o, &Plan::default(), NodeId::new(n));
    let counts = |n| (of_node(&o, n).groups, of_node(&o, n).leaders);
    assert_eq!((counts(1), counts(2), counts(4)), ((1, 1), (1, 0), (0, 0)));
    assert!(of_node(&o, 2).caught_up);
    let mut behind = o.clone();
    behind.close_since_us.remove(&(GROUP, replica(2)));
    assert!(!of_node(&behind, 2).caught_up && of_node(&behind, 3).caught_up);
    let mut away = o.clone();
    away.nodes.get_mut(&NodeId::new(2)).unwrap().reachable = false;
    assert!(!of_node(&away, 2).caught_up && of_node(&away, 3).caught_up);
    let mut leaderless = o.clone();
    leaderless.groups.clear();
    assert!(!of_node(&leaderless, 2).caught_up, "the group is recorded on the node and has no leader");
}

#[test]
fn a_node_is_named_by_the_groups_of_its_replicas_only() {
    let mut toy = Toy::with_store(4, 3);
    toy.declare("b", 1);
    toy.settle();
    assert_eq!((toy.voters("a"), toy.voters("b")), (vec![1, 2, 3], vec![4]));
    let o = toy.observe();
    for (n, store) in [(1, "a"), (2, "a"), (3, "a"), (4, "b")] {
        let named = status::node(&toy.c, &o, &Plan::default(), NodeId::new(n)).named_by;
        assert_eq!(named, [GroupId::SYSTEM, toy.group(store)], "node {n}");
    }
}

#[test]
fn the_status_of_a_node_says_what_the_plan_waits_for_on_this_node() {
    let (c, o) = calm();
    let mut plan = Plan::default();
    for n in [1, 2] {
        let sentence = format!("on node {n}");
        plan.waiting.push(Waiting { store: None, node: Some(NodeId::new(n)), reason: WaitReason::Draining, sentence });
    }
    let waits = |n| status::node(&c, &o, &plan, NodeId::new(n)).waiting_for;
    assert_eq!([waits(1), waits(2), waits(3)], ["on node 1", "on node 2", ""]);
}

#[test]
fn the_system_group_may_name_present_nodes_only_while_its_membership_is_not_committed() {
    let mut toy = Toy::new(3);
    toy.settle();
    let mut o = toy.observe();
    let system = o.groups.get_mut(&GroupId::SYSTEM).unwrap();
    system.hosts.retain(|_, node| *node != NodeId::new(3));
    let named = |o: &ClusterObservation, n| status::node(&toy.c, o, &Plan::default(), NodeId::new(n)).named_by;
    assert_eq!(named(&o, 3), []);
    o.groups.get_mut(&GroupId::SYSTEM).unwrap().committed = 0;
    assert_eq!(named(&o, 3), [GroupId::SYSTEM]);
    assert_eq!(named(&o, 4), [], "no node of the catalogue");
}
