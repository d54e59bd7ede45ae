//! Growth, shrinking and forming of groups, one test per rule.

use super::{
    observation::{GROUP, catalogue, look, replica, settled},
    toy::{Carry, Toy},
};
use crate::{
    catalogue::{Catalogue, CatalogueOutcome, GroupPhase, Kind, Node, NodeState, Replica, ReplicaState},
    ids::{DiskId, GroupId, NodeId, ReplicaId},
    plan::{
        Action, ClusterObservation, NodeObservation, Plan, WaitReason, guard::guard, leadership::balance,
        observation::CAUGHT_UP_US, plan,
    },
};
use std::collections::BTreeSet;
use uuid::Uuid;

#[test]
fn the_system_group_grows_to_its_rule() {
    for (nodes, voters) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (7, 5)] {
        let toy = Toy::new(nodes);
        let m = &toy.groups[&GroupId::SYSTEM];
        assert_eq!(m.configs[0].len(), voters, "{nodes} nodes");
        assert_eq!(m.hosts.len() as u64, nodes);
    }
}

/// Returns the voters and the learners after the first planned change of a group.
fn change(actions: Vec<Action>, group: GroupId) -> Option<(Vec<u64>, Vec<u64>)> {
    let ids = |of: &mut dyn Iterator<Item = ReplicaId>| of.map(ReplicaId::get).collect();
    actions.into_iter().find_map(|action| match action {
        Action::ChangeMembership { group: g, voters, learners, .. } if g == group => {
            Some((ids(&mut voters.into_iter()), ids(&mut learners.into_keys())))
        }
        Action::ChangeMembership { .. }
        | Action::Propose(_)
        | Action::Settings { .. }
        | Action::RaiseRules { .. }
        | Action::Transfer { .. } => None,
    })
}

/// Drained nodes, nodes that do not answer, and the voters and the learner after the change, if any.
type Votes = (&'static [u64], &'static [u64], Option<([u64; 3], u64)>);

#[test]
fn a_vote_of_the_system_group_moves_from_a_drained_node_to_a_learner_and_never_for_an_outage() {
    let cases: [Votes; 7] = [
        (&[], &[], None),
        (&[], &[2], None),
        (&[], &[4], None),
        (&[2], &[], Some(([1, 3, 4], 2))),
        (&[2], &[2], Some(([1, 3, 4], 2))),
        (&[2], &[4], None),
        (&[2, 3], &[2], Some(([1, 3, 4], 2))),
    ];
    for (drained, down, votes) in cases {
        // Every node has data, so a drained node stays in the group.
        let mut toy = Toy::with_store(4, 3);
        toy.declare("b", 3);
        toy.settle();
        assert_eq!(toy.groups[&GroupId::SYSTEM].configs, [(1..=3).map(ReplicaId::new).collect()]);
        drained.iter().for_each(|n| drop(toy.run(Kind::Drain(NodeId::new(*n)))));
        toy.down = down.iter().copied().map(NodeId::new).collect();
        let o = toy.observe();
        let expected = votes.map(|(voters, learner)| (voters.to_vec(), vec![learner]));
        let changed = change(plan(&toy.c, &o).actions, GroupId::SYSTEM);
        assert_eq!(changed, expected, "drained: {drained:?}, down: {down:?}");
    }
}

#[test]
fn a_system_group_that_shrinks_keeps_its_leader_and_the_voters_that_answer() {
    for (leader, down, voters) in [(1, None, [1, 2, 3]), (4, None, [1, 2, 4]), (1, Some(2), [1, 3, 4])] {
        let mut toy = Toy::new(5);
        toy.run(Kind::Drain(NodeId::new(5)));
        toy.down = down.into_iter().map(NodeId::new).collect();
        let mut o = toy.observe();
        let system = o.groups.get_mut(&GroupId::SYSTEM).unwrap();
        (system.leader, system.leader_node) = (ReplicaId::new(leader), NodeId::new(leader));
        let changed = change(plan(&toy.c, &o).actions, GroupId::SYSTEM);
        let expected = Some((voters.to_vec(), (1..=4).filter(|n| !voters.contains(n)).collect()));
        assert_eq!(changed, expected, "node {leader} leads, {down:?} does not answer");
    }
}

#[test]
fn a_store_grows_and_shrinks_in_one_change_each() {
    let mut toy = Toy::with_store(3, 1);
    assert_eq!(toy.voters("a").len(), 1);
    toy.declare("a", 3);
    toy.settle();
    assert_eq!(toy.voters("a"), [1, 2, 3]);
    let group = toy.group("a");
    let before = toy.groups[&group].version;
    toy.declare("a", 1);
    toy.settle();
    assert_eq!(toy.voters("a").len(), 1);
    assert_eq!(toy.c.groups[&group].replicas.len(), 1, "replicas without a vote are gone");
    assert_eq!(toy.groups[&group].version, before + 1, "a single change shrinks three voters to one");
}

#[test]
fn a_store_that_shrinks_keeps_its_leader() {
    for n in 0..3 {
        let mut toy = Toy::with_store(3, 3);
        let group = toy.group("a");
        let m = toy.groups.get_mut(&group).unwrap();
        m.leader = *m.configs[0].iter().nth(n).unwrap();
        let leader = m.leader;
        toy.pass();
        toy.declare("a", 1);
        let o = toy.observe();
        let voters = change(plan(&toy.c, &o).actions, group).map(|(voters, _)| voters);
        assert_eq!(voters, Some(vec![leader.get()]), "voter {n} leads");
    }
}

#[test]
fn a_change_that_was_left_half_done_is_finished() {
    for (from, to) in [(1, 3), (3, 1), (3, 5)] {
        let mut toy = Toy::with_store(5, from);
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
fn no_replica_is_retired_under_a_membership_that_is_not_committed() {
    let mut toy = Toy::with_store(3, 3);
    toy.slow = true;
    toy.declare("a", 1);
    let group = toy.group("a");
    while toy.groups[&group].configs[0].len() > 1 {
        assert!(toy.pass() > 0, "the store does not shrink");
    }
    assert!(!toy.groups[&group].membership_committed(), "the change is committed at once");
    let o = toy.observe();
    let planned = plan(&toy.c, &o);
    assert!(planned.actions.is_empty(), "{:?}", planned.actions);
    assert!(planned.waiting.iter().any(|w| w.reason == WaitReason::Changing && w.sentence.contains("not committed")));
    // The leader is lost with the only log that has the change, so the three voters before are in force again.
    let leader = toy.groups[&group].hosts[&toy.groups[&group].leader];
    toy.down.insert(leader);
    toy.slow = false;
    toy.pass();
    assert_eq!(toy.groups[&group].configs[0].len(), 3, "the loss of the leader does not undo the change");
    toy.down.clear();
    toy.settle();
    assert_eq!(toy.c.groups[&group].replicas.len(), 1);
}

#[test]
fn a_group_is_formed_once_its_first_membership_is_committed() {
    let mut toy = Toy::new(3);
    toy.declare("a", 3);
    let group = toy.group("a");
    while !toy.groups.contains_key(&group) {
        toy.pass_until(0, Carry::Whole);
    }
    let mut o = toy.observe();
    let formed = |o: &ClusterObservation| plan(&toy.c, o).actions.contains(&Action::Propose(Kind::GroupFormed(group)));
    assert!(toy.c.groups[&group].phase != GroupPhase::Formed && formed(&o));
    // The leader has appended the membership and its own first entry, and no other replica has the entries yet.
    o.groups.get_mut(&group).unwrap().committed = 0;
    assert!(!formed(&o), "another replica could no longer form the group");
}

#[test]
fn a_replica_that_is_behind_is_not_promoted() {
    let mut toy = Toy::with_store(3, 1);
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
    let waiting = toy.waiting(WaitReason::Growing).unwrap();
    assert!(waiting.sentence.contains("catches up"), "{}", waiting.sentence);
    toy.stalled.clear();
    toy.settle();
    assert_eq!(toy.voters("a").len(), 3);
}

#[test]
fn new_replicas_go_to_nodes_that_answer() {
    let mut toy = Toy::with_store(5, 3);
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
    let mut toy = Toy::with_store(5, 3);
    let voters = toy.voters("a");
    toy.down.extend(voters[..2].iter().map(|n| NodeId::new(*n)));
    let group = toy.group("a");
    let before = (toy.groups[&group].version, toy.c.groups[&group].clone());
    for _ in 0..20 {
        toy.pass();
    }
    assert_eq!((toy.groups[&group].version, toy.c.groups[&group].clone()), before);
    let sentence = toy.waiting(WaitReason::NoLeader).unwrap().sentence;
    assert!(sentence.contains(&format!("no answer from node {}, {}", voters[0], voters[1])), "{sentence}");
}

#[test]
fn a_group_that_cannot_be_formed_names_the_node_that_is_to_form_it() {
    for (replicas, in_its_place) in [(3, "; another node takes over"), (1, "")] {
        let mut toy = Toy::new(3);
        toy.declare("a", replicas);
        let node = toy.initializer("a");
        toy.down.extend(toy.c.groups[&toy.group("a")].nodes());
        toy.pass();
        let sentence = toy.waiting(WaitReason::NoLeader).unwrap().sentence;
        assert_eq!(sentence, format!("node {node}, which forms the group, does not answer{in_its_place}"));
        toy.down.clear();
        toy.settle();
        assert_eq!(toy.voters("a").len(), replicas as usize);
    }
}

#[test]
fn a_replica_that_its_node_removed_by_mistake_is_replaced_on_the_spot() {
    let mut toy = Toy::with_store(3, 3);
    let group = toy.group("a");
    let lost = *toy.groups[&group].configs[0].last().unwrap();
    let node = toy.groups[&group].hosts[&lost];
    toy.deleted.insert((group, lost));
    for _ in 0..40 {
        toy.pass();
        assert_eq!(toy.groups[&group].configs[0].len(), 3, "the number of voters never falls");
    }
    toy.settle();
    assert!(!toy.groups[&group].hosts.contains_key(&lost));
    assert_eq!(toy.c.groups[&group].replicas.values().filter(|r| r.node == node).count(), 1);
    assert!(toy.c.groups[&group].replicas.values().all(|r| r.state == ReplicaState::Active));
}

#[test]
fn a_store_with_too_few_nodes_names_the_node_whose_drain_is_blocked() {
    let mut toy = Toy::with_store(3, 3);
    let sentence = "too few nodes for 3 replicas; add nodes or declare fewer replicas";
    toy.run(Kind::Drain(NodeId::new(2)));
    let blocked = toy.waiting(WaitReason::ScaleDownBlocked).unwrap();
    assert_eq!((blocked.node, &*blocked.sentence), (Some(NodeId::new(2)), sentence));
    assert_eq!(toy.waiting(WaitReason::NotEnoughNodes), None);
    toy.run(Kind::CancelDrain(NodeId::new(2)));
    toy.run(Kind::Replace { old: NodeId::new(3), new: None });
    let few = toy.waiting(WaitReason::NotEnoughNodes).unwrap();
    assert_eq!((few.node, &*few.sentence), (None, sentence), "no node is drained");
    assert_eq!(toy.waiting(WaitReason::ScaleDownBlocked), None);
}

#[test]
fn a_store_that_lost_no_voter_does_not_grow_onto_nodes_that_are_drained() {
    let mut toy = Toy::with_store(3, 1);
    let voters = toy.voters("a");
    toy.declare("a", 3);
    for node in (1..=3).filter(|n| !voters.contains(n)).map(NodeId::new) {
        toy.add_learner("a", node);
        toy.run(Kind::Drain(node));
    }
    for _ in 0..20 {
        toy.pass();
        assert_eq!(toy.voters("a"), voters);
    }
    assert!(toy.waiting(WaitReason::ScaleDownBlocked).is_some());
}

#[test]
fn a_node_gets_no_new_replica_before_the_data_of_the_former_replica_is_gone() {
    let mut toy = Toy::with_store(3, 3);
    let (group, node) = (toy.group("a"), NodeId::new(3));
    let former = toy.c.groups[&group].on(node).unwrap();
    toy.c.groups.get_mut(&group).unwrap().replicas.get_mut(&former).unwrap().state = ReplicaState::Leaving;
    let add = Action::Propose(Kind::AddReplica { group, node });
    let o = toy.observe();
    let planned = plan(&toy.c, &o);
    assert!(!planned.actions.contains(&add), "{:?}", planned.actions);
    assert!(planned.waiting.iter().any(|w| w.sentence == "node 3 still removes its former replica"));
    toy.c.groups.get_mut(&group).unwrap().replicas.remove(&former);
    assert!(plan(&toy.c, &o).actions.contains(&add));
}

#[test]
fn a_new_replica_goes_to_a_node_without_data_of_a_former_replica() {
    let mut toy = Toy::with_store(5, 3);
    assert_eq!(toy.voters("a"), [1, 2, 3]);
    let group = toy.group("a");
    let former = Replica { node: NodeId::new(4), state: ReplicaState::Leaving };
    toy.c.groups.get_mut(&group).unwrap().replicas.insert(ReplicaId::new(2_000_000), former);
    toy.run(Kind::Drain(NodeId::new(3)));
    let o = toy.observe();
    let actions = plan(&toy.c, &o).actions;
    let added = |node| actions.contains(&Action::Propose(Kind::AddReplica { group, node: NodeId::new(node) }));
    assert_eq!([added(4), added(5)], [false, true]);
}

#[test]
fn a_node_gets_a_new_replica_while_another_node_removes_its_data() {
    let mut toy = Toy::with_store(4, 3);
    let (group, node) = (toy.group("a"), NodeId::new(3));
    let former = toy.c.groups[&group].on(node).unwrap();
    let moved = Replica { node: NodeId::new(4), state: ReplicaState::Leaving };
    toy.c.groups.get_mut(&group).unwrap().replicas.insert(former, moved);
    let o = toy.observe();
    let planned = plan(&toy.c, &o);
    assert!(planned.actions.contains(&Action::Propose(Kind::AddReplica { group, node })), "{planned:?}");
}

#[test]
fn leaders_are_spread_and_then_left_alone() {
    let mut toy = Toy::new(3);
    for i in 0..9 {
        toy.declare(&format!("s{i}"), 3);
    }
    toy.settle();
    // All leaders are on node 3, as after a roll.
    for group in toy.c.groups.keys().copied().collect::<Vec<_>>() {
        let m = toy.groups.get_mut(&group).unwrap();
        m.leader = *m.hosts.iter().find(|(_, n)| n.get() == 3).unwrap().0;
    }
    assert_eq!(leaders(&toy), [0, 0, 9]);
    let grant = Kind::AcquireGrant { node: NodeId::new(1), holder: "o".into(), ttl_us: 60_000_000 };
    assert_eq!(toy.run(grant), CatalogueOutcome::Done);
    for _ in 0..10 {
        assert_eq!(toy.pass(), 0, "leaders move while the disruption grant is held");
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
fn a_leader_moves_to_a_node_with_at_least_three_fewer_leaders() {
    let mut toy = Toy::new(3);
    for n in 0..12 {
        toy.declare(&format!("s{n}"), 3);
    }
    toy.settle();
    let o = toy.observe();
    let cases = [
        ([4, 4, 4], false),
        ([3, 4, 5], false),
        ([5, 5, 2], true),
        ([3, 3, 6], true),
        ([6, 1, 5], true),
        ([0, 0, 12], true),
    ];
    for (leaders, moves) in cases {
        let mut o = o.clone();
        let nodes = (1..).map(NodeId::new).zip(leaders).flat_map(|(node, n)| std::iter::repeat_n(node, n));
        for (group, node) in toy.c.groups.keys().zip(nodes) {
            let observed = o.groups.get_mut(group).unwrap();
            observed.leader = observed.hosts.iter().find(|(_, n)| **n == node).map(|(r, _)| *r).unwrap();
            observed.leader_node = node;
        }
        let to = |action| {
            if let Action::Transfer { leader_node, to, group, .. } = action {
                Some((leader_node, o.groups[&group].hosts[&to]))
            } else {
                None
            }
        };
        let moved: Vec<_> = plan(&toy.c, &o).actions.into_iter().filter_map(to).collect();
        assert_eq!(moved.len(), usize::from(moves), "{leaders:?}");
        let of = |node: NodeId| leaders[usize::try_from(node.get()).unwrap() - 1];
        assert!(moved.iter().all(|(from, to)| of(*to) + 2 < of(*from)), "{leaders:?}: {moved:?}");
    }
}

#[test]
fn a_leader_never_moves_between_nodes_with_a_smaller_difference_for_the_sake_of_another_node() {
    // Leaders on the nodes 1 to 4. No group has a replica on node 4.
    for (leaders, moved) in [([3, 1, 1, 0], None), ([3, 3, 1, 0], None), ([4, 1, 2, 0], Some((1, 2)))] {
        let (mut c, mut o) = (Catalogue::default(), ClusterObservation::default());
        for n in 1..=4 {
            let (name, address, version) = (String::new(), String::new(), String::new());
            let disk = DiskId::new(Uuid::from_u128(n.into()));
            c.nodes.insert(NodeId::new(n), Node { disk, name, address, version, state: NodeState::Member });
        }
        let groups = (1..).map(GroupId::new);
        let nodes = (1..).zip(leaders).flat_map(|(node, n)| std::iter::repeat_n(node, n));
        for (group, leader) in groups.zip(nodes) {
            let steps = [0, CAUGHT_UP_US].map(|now_us| look(now_us, 100, &[100, 100, 100]));
            let calm = settled(steps);
            let mut observed = calm.groups[&GROUP].clone();
            (observed.leader, observed.leader_node) = (replica(leader), NodeId::new(leader));
            c.groups.insert(group, catalogue(3).groups[&GROUP].clone());
            o.groups.insert(group, observed);
            o.close_since_us.extend(calm.close_since_us.iter().map(|((_, r), since)| ((group, *r), *since)));
            (o.now_us, o.nodes) = (calm.now_us, calm.nodes);
        }
        o.nodes.insert(NodeId::new(4), NodeObservation { reachable: true, ..NodeObservation::default() });
        let mut planned = Plan::default();
        balance(&c, &o, &BTreeSet::new(), &mut planned);
        let transfer = moved.map(|(from, to)| Action::Transfer {
            group: GroupId::new(1),
            leader_node: NodeId::new(from),
            leader: replica(from),
            to: replica(to),
        });
        assert_eq!(planned.actions, transfer.into_iter().collect::<Vec<_>>(), "{leaders:?}");
    }
}

#[test]
fn no_leader_moves_to_balance_groups_that_change_or_have_a_voter_behind() {
    let mut toy = Toy::new(3);
    for n in 0..9 {
        toy.declare(&format!("s{n}"), 3);
    }
    toy.settle();
    let mut o = toy.observe();
    let leader = NodeId::new(1);
    for observed in o.groups.values_mut() {
        observed.leader = observed.hosts.iter().find(|(_, node)| **node == leader).map(|(r, _)| *r).unwrap();
        observed.leader_node = leader;
    }
    let moves = |change: &dyn Fn(&mut ClusterObservation, GroupId)| {
        let mut o = o.clone();
        toy.c.groups.keys().for_each(|group| change(&mut o, *group));
        plan(&toy.c, &o).actions.len()
    };
    assert_eq!(moves(&|_, _| {}), 1);
    assert_eq!(moves(&|o, group| o.groups.get_mut(&group).unwrap().committed = 0), 0, "the groups change");
    let behind = |o: &mut ClusterObservation, group: GroupId| {
        let last = *o.groups[&group].hosts.keys().last().unwrap();
        o.close_since_us.remove(&(group, last));
    };
    assert_eq!(moves(&behind), 0, "one voter of each group is behind");
}

fn leaders(toy: &Toy) -> Vec<usize> {
    let of = |n: &NodeId| toy.c.groups.keys().filter(|g| toy.groups[g].hosts[&toy.groups[g].leader] == *n).count();
    let mut counts: Vec<usize> = toy.c.members().map(|n| of(&n)).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn a_change_of_the_system_voters_that_was_left_half_done_is_finished() {
    let mut toy = Toy::new(4);
    let mut o = toy.observe();
    let system = o.groups.get_mut(&GroupId::SYSTEM).unwrap();
    let older = system.configs[0].clone();
    let newer: BTreeSet<ReplicaId> = older.iter().copied().take(2).collect();
    assert_eq!((older.len(), system.hosts.len()), (3, 4));
    system.configs = vec![older, newer.clone()];
    // The node without a vote before and after the change remains a learner.
    let rest = [(ReplicaId::new(4), NodeId::new(4))].into();
    let finishes = |a: &Action| {
        matches!(a, Action::ChangeMembership { group: GroupId::SYSTEM, voters, learners, .. }
            if *voters == newer && *learners == rest)
    };
    assert!(plan(&toy.c, &o).actions.iter().any(finishes));
}
