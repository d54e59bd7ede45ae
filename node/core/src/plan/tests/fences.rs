//! Fences of replicas whose state differs from the majority's, one test per rule.
//!
//! One file, although long: all rules share a store with a divergent replica, and each test follows a fence to its end.

use super::toy::{Toy, registration};
use crate::{
    catalogue::{Catalogue, CatalogueOutcome, CloseMode, Kind, NodeState, ReplicaState},
    ids::{Digest, GroupId, NodeId, ReplicaId},
    plan::{
        Action, ClusterObservation, Lineage, NodeObservation, WaitReason, guard::guard, plan, settle::FENCE_AGAIN_US,
        status,
    },
};
use std::collections::BTreeSet;

#[test]
fn a_divergent_replica_is_fenced_and_counts_for_nothing() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    let leader = toy.groups[&group].leader;
    let o = toy.observe();
    let plan = plan(&toy.c, &o);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.fences.iter().map(|f| (f.group, f.replica)).collect::<Vec<_>>(), [(group, divergent)]);
    assert!(guard(&toy.c, &o, toy.groups[&group].hosts[&leader]).is_err());
}

/// Creates a store with three caught-up replicas on a cluster of `nodes` nodes, and makes a follower divergent.
fn store_with_divergent_replica(nodes: u64) -> (Toy, GroupId, ReplicaId) {
    let mut toy = Toy::new(nodes);
    toy.declare("a", 3);
    toy.settle();
    toy.writing = false;
    toy.quiet_down();
    let group = toy.group("a");
    let leader = toy.groups[&group].leader;
    let divergent = *toy.groups[&group].configs[0].iter().find(|r| **r != leader).unwrap();
    toy.divergent.insert((group, divergent));
    (toy, group, divergent)
}

#[test]
fn a_fenced_replica_is_replaced_where_there_is_room_and_goes_afterwards() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let old = toy.groups[&group].hosts[&divergent];
    let version = toy.groups[&group].version;
    assert!(toy.pass() > 0 && toy.fenced.contains(&(group, divergent)));
    while toy.voters("a").contains(&old.get()) {
        assert!(toy.pass() > 0 || !toy.is_quiet(), "the fenced replica is never replaced");
        let (kept, voters) = (!toy.deleted.contains(&(group, divergent)), toy.groups[&group].configs[0].len());
        assert!(kept && voters == 3, "the fenced data is removed last, and the number of voters does not fall");
    }
    toy.settle();
    assert_eq!(toy.groups[&group].version, version + 2, "one change adds the learner, one changes the voters");
    assert!(toy.deleted.contains(&(group, divergent)) && !toy.c.groups[&group].replicas.contains_key(&divergent));
}

#[test]
fn a_fenced_replica_is_replaced_on_its_own_node_if_there_is_no_other() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    let old = toy.groups[&group].hosts[&divergent];
    assert!(toy.pass() > 0 && toy.fenced.contains(&(group, divergent)));
    assert!(toy.waiting(WaitReason::ReplicaInconsistent).unwrap().sentence.contains("fenced"));
    toy.settle();
    assert_eq!(toy.voters("a").into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
    assert!(toy.c.groups[&group].on(old).is_some_and(|new| new != divergent), "the new replica has a new id");
    assert!(toy.last.close(group, toy.c.groups[&group].on(old).unwrap()));
}

#[test]
fn nobody_else_is_fenced_until_the_first_one_is_replaced() {
    let mut toy = Toy::new(5);
    toy.declare("a", 5);
    toy.settle();
    toy.writing = false;
    toy.quiet_down();
    let group = toy.group("a");
    let divergent: Vec<ReplicaId> = toy.groups[&group].configs[0].iter().copied().take(2).collect();
    toy.divergent.extend(divergent.iter().map(|r| (group, *r)));
    let mut both = 0;
    for _ in 0..100 {
        toy.pass();
        let voters = &toy.groups[&group].configs[0];
        both = both.max(toy.fenced.iter().filter(|(_, r)| voters.contains(r)).count());
    }
    assert_eq!((both, toy.fenced.len()), (1, 2), "both replicas are fenced, one after the other");
    assert!(toy.is_quiet() && divergent.iter().all(|r| toy.deleted.contains(&(group, *r))));
}

#[test]
fn a_leader_that_is_divergent_is_fenced_too() {
    let (mut toy, group, _) = store_with_divergent_replica(3);
    let leader = toy.groups[&group].leader;
    toy.divergent = [(group, leader)].into();
    toy.settle();
    assert!(toy.fenced.contains(&(group, leader)) && toy.deleted.contains(&(group, leader)));
    assert_eq!(toy.voters("a").into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_fenced_replica_keeps_its_data_while_too_few_others_are_caught_up() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    assert!(toy.pass() > 0 && toy.fenced.contains(&(group, divergent)));
    let leader = toy.groups[&group].leader;
    let other = *toy.groups[&group].configs[0].iter().find(|r| **r != leader && **r != divergent).unwrap();
    let mut o = toy.observe();
    let leaves = |a: &Action| matches!(a, Action::ChangeMembership { voters, .. } if *voters == [leader, other].into());
    assert!(plan(&toy.c, &o).actions.iter().any(leaves));
    o.close_since_us.remove(&(group, other));
    let plan = plan(&toy.c, &o);
    assert!(plan.actions.is_empty() && plan.waiting.iter().any(|w| w.reason == WaitReason::NoQuorum));
}

#[test]
fn a_fenced_voter_leaves_the_group_before_the_catalogue_retires_the_replica() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    (toy.slow, toy.frees) = (true, false);
    let mut seen = Vec::new();
    for _ in 0..40 {
        toy.pass();
        let m = &toy.groups[&group];
        let votes = m.configs.iter().flatten().any(|r| *r == divergent);
        let state = toy.c.groups[&group].replicas[&divergent].state;
        assert!(state != ReplicaState::Leaving || (!votes && m.membership_committed()), "retired as a voter");
        let now = (votes, m.membership_committed(), state);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    let steps = [
        (true, true, ReplicaState::Active),
        (false, false, ReplicaState::Active),
        (false, true, ReplicaState::Leaving),
    ];
    assert_eq!(seen, steps, "the smaller membership is committed before the retirement");
}

#[test]
fn the_data_of_a_fenced_replica_stays_until_a_person_frees_the_replica() {
    for nodes in [3, 4] {
        let (mut toy, group, divergent) = store_with_divergent_replica(nodes);
        let node = toy.groups[&group].hosts[&divergent];
        toy.frees = false;
        for _ in 0..60 {
            toy.pass();
        }
        assert!(toy.fenced.contains(&(group, divergent)) && !toy.deleted.contains(&(group, divergent)));
        let full = nodes == 4;
        assert_eq!(toy.voters("a").len(), if full { 3 } else { 2 }, "another node takes the replacement");
        let sentence = toy.waiting(WaitReason::ReplicaInconsistent).unwrap().sentence;
        assert!(sentence.contains(&format!("replica {divergent} of group {group} on node {node}")), "{sentence}");
        let o = toy.observe();
        let seen = status::store(&toy.c, &o, &plan(&toy.c, &o), toy.find("a").unwrap()).unwrap();
        assert_eq!((seen.fully_replicated, seen.reason), (full, Some(WaitReason::ReplicaInconsistent)));
        toy.run(Kind::Drain(node));
        for _ in 0..60 {
            toy.pass();
        }
        if full {
            let o = toy.observe();
            let waits = plan(&toy.c, &o).waiting;
            assert!(waits.iter().any(|w| w.node == Some(node) && w.sentence.contains("until a person frees")));
        }
        assert_eq!(toy.c.nodes[&node].state, NodeState::Draining, "the drain waits for the data");
        toy.run(Kind::CancelDrain(node));
        toy.frees = true;
        toy.settle();
        assert!(toy.deleted.contains(&(group, divergent)) && toy.voters("a").len() == 3);
        assert!(toy.waiting(WaitReason::ReplicaInconsistent).is_none());
    }
}

#[test]
fn a_deleted_store_removes_the_data_of_its_fenced_replicas() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    toy.frees = false;
    for _ in 0..40 {
        toy.pass();
    }
    assert!(toy.fenced.contains(&(group, divergent)) && !toy.deleted.contains(&(group, divergent)));
    let store = toy.find("a").unwrap();
    toy.run(Kind::Close { store, mode: CloseMode::Delete, declared_by: "u".into() });
    toy.settle();
    assert!(toy.deleted.contains(&(group, divergent)) && toy.find("a").is_none());
}

#[test]
fn two_of_three_voters_are_needed_to_call_the_third_divergent() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let leader = toy.groups[&group].leader;
    let away = *toy.groups[&group].configs[0].iter().find(|r| **r != leader && **r != divergent).unwrap();
    toy.down.insert(toy.groups[&group].hosts[&away]);
    for _ in 0..10 {
        toy.pass();
    }
    assert!(toy.fenced.is_empty(), "one replica against one is no majority");
    // A learner that agrees with the leader does not help: two replicas agree, but not two of the three voters.
    let mut o = toy.observe();
    let fourth = ReplicaId::new(divergent.get() + 1_000);
    let (node, report) =
        (NodeId::new(4), o.nodes[&toy.groups[&group].hosts[&leader]].replicas[&(group, leader)].clone());
    o.nodes.get_mut(&node).unwrap().replicas.insert((group, fourth), report);
    o.groups.get_mut(&group).unwrap().hosts.insert(fourth, node);
    let planned = plan(&toy.c, &o);
    assert!(planned.fences.is_empty() && planned.waiting.iter().any(|w| w.reason == WaitReason::ReplicaInconsistent));
    toy.down.clear();
    toy.settle();
    assert!(toy.fenced.contains(&(group, divergent)));
}

#[test]
fn nobody_is_fenced_while_another_node_may_be_taken_away() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let node = toy.groups[&group].hosts[&divergent];
    let other = NodeId::new(toy.voters("a").into_iter().find(|n| *n != node.get()).unwrap());
    let grant = |node| Kind::AcquireGrant { node, holder: "o".into(), ttl_us: 60_000_000 };
    assert_eq!(toy.run(grant(other)), CatalogueOutcome::Done);
    for _ in 0..10 {
        toy.pass();
        assert!(toy.fenced.is_empty());
    }
    let o = toy.observe();
    let sentences: Vec<String> = plan(&toy.c, &o).waiting.into_iter().map(|w| w.sentence).collect();
    assert!(sentences.iter().any(|s| s.contains("is not fenced while o may take")), "{sentences:?}");
    toy.run(Kind::ReleaseGrant { node: other, holder: "o".into() });
    // The divergent replica does not count as caught up, so a grant for its own node does not delay the fence.
    assert_eq!(toy.run(grant(node)), CatalogueOutcome::Done);
    toy.settle();
    assert!(toy.fenced.contains(&(group, divergent)) && toy.voters("a").len() == 3);
}

#[test]
fn only_voters_that_run_and_are_caught_up_call_another_one_divergent() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    let m = &toy.groups[&group];
    let other = *m.configs[0].iter().find(|r| **r != m.leader && **r != divergent).unwrap();
    let node = m.hosts[&other];
    let mut o = toy.observe();
    assert_eq!(plan(&toy.c, &o).fences.len(), 1);
    // The replica still reports a digest, but no longer runs.
    o.nodes.get_mut(&node).unwrap().replicas.get_mut(&(group, other)).unwrap().stopped = Some("gone".into());
    o.close_since_us.clear();
    o.settle(&toy.c, &ClusterObservation::default());
    assert_eq!(plan(&toy.c, &o).fences, []);
}

#[test]
fn replicas_that_are_never_at_one_index_are_compared_at_the_marks_that_they_passed() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    toy.divergent.clear();
    let mut o = toy.observe();
    for (n, node) in (0..).zip(o.nodes.values_mut()) {
        for ((_, replica), report) in node.replicas.iter_mut().filter(|((g, _), _)| *g == group) {
            report.applied += n;
            report.marks = vec![(1, Digest([1; 32])), (2, Digest([2 + u8::from(*replica == divergent); 32]))];
        }
    }
    o.settle(&toy.c, &toy.last);
    let fences = plan(&toy.c, &o).fences;
    assert_eq!(fences.iter().map(|f| (f.replica, f.index)).collect::<Vec<_>>(), [(divergent, 2)]);
}

#[test]
fn a_node_that_makes_one_divergent_replica_after_the_other_is_given_one_an_hour() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    let node = toy.groups[&group].hosts[&divergent];
    toy.settle();
    for (n, wait) in [(1, FENCE_AGAIN_US / 2), (2, FENCE_AGAIN_US)] {
        let next = toy.c.groups[&group].on(node).unwrap();
        toy.divergent.insert((group, next));
        for _ in 0..40 {
            toy.pass();
        }
        assert_eq!((toy.fenced.len(), toy.c.groups[&group].on(node)), (1, Some(next)), "{n}");
        let o = toy.observe();
        assert!(plan(&toy.c, &o).waiting.iter().any(|w| w.sentence.contains("within the hour")));
        toy.now_us += wait;
    }
    toy.settle();
    assert_eq!(toy.fenced.len(), 2, "the hour is over");
}

#[test]
fn a_fence_counts_for_an_hour_after_its_first_observation() {
    let (group, replica, node) = (GroupId::new(7), ReplicaId::new(1_000), NodeId::new(1));
    let look = |now_us: u64, fenced: bool, before: &ClusterObservation| {
        let fenced = fenced.then_some((group, replica)).into_iter().collect();
        let seen = NodeObservation { reachable: true, fenced, ..NodeObservation::default() };
        let mut o = ClusterObservation { now_us, nodes: [(node, seen)].into(), ..ClusterObservation::default() };
        o.settle(&Catalogue::default(), before);
        o
    };
    let first = look(5, true, &ClusterObservation::default());
    let again = look(9, true, &first);
    for (after_us, lately) in [(10, true), (FENCE_AGAIN_US - 1, true), (FENCE_AGAIN_US, false)] {
        assert_eq!(look(5 + after_us, false, &again).fenced_lately(group, node), lately, "{after_us}");
    }
}

#[test]
fn a_fenced_replica_is_replaced_while_another_nodes_drain_is_blocked() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    let (node, leader) = (toy.groups[&group].hosts[&divergent], toy.groups[&group].leader);
    let drained = toy.groups[&group].hosts[&leader];
    toy.run(Kind::Drain(drained));
    for _ in 0..60 {
        toy.pass();
        let voters = &toy.groups[&group].configs[0];
        let right = voters.iter().filter(|r| **r != divergent).count();
        assert!(right >= 2, "only the fenced voter leaves without a successor");
    }
    assert_eq!(toy.voters("a").len(), 3);
    assert!(
        toy.deleted.contains(&(group, divergent)) && toy.c.groups[&group].on(node).is_some_and(|new| new != divergent)
    );
    assert!(toy.c.groups[&group].replicas.values().all(|r| r.state == ReplicaState::Active) && toy.is_quiet());
    assert_eq!(toy.c.nodes[&drained].state, NodeState::Draining);
    assert!(toy.waiting(WaitReason::ScaleDownBlocked).is_some());
}

#[test]
fn the_replacement_of_a_fenced_replica_goes_on_under_another_coordinator_while_its_node_is_away() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let old = toy.groups[&group].hosts[&divergent];
    while toy.groups[&group].hosts.len() < 4 {
        assert!(toy.pass() > 0 || !toy.is_quiet(), "no learner is added");
    }
    let new = toy.groups[&group]
        .hosts
        .values()
        .copied()
        .find(|n| toy.groups[&group].configs[0].iter().all(|v| toy.groups[&group].hosts[v] != *n))
        .unwrap();
    toy.down.insert(old);
    toy.last = ClusterObservation::default();
    toy.settle();
    assert!(toy.voters("a").contains(&old.get()) && toy.groups[&group].hosts.len() == 4, "the node may restart");
    toy.be_silent();
    toy.settle();
    assert!(toy.voters("a").contains(&new.get()) && !toy.voters("a").contains(&old.get()));
}

#[test]
fn a_change_to_a_divergent_voter_alone_is_taken_back() {
    let (mut toy, group, divergent) = store_with_divergent_replica(3);
    toy.declare("a", 1);
    let old = toy.groups[&group].configs[0].clone();
    toy.groups.get_mut(&group).unwrap().configs.push([divergent].into());
    let o = toy.observe();
    let back =
        |a: &Action| matches!(a, Action::ChangeMembership { group: g, voters, .. } if *g == group && *voters == old);
    assert!(plan(&toy.c, &o).actions.iter().any(back));
    toy.settle();
    assert!(toy.fenced.iter().all(|key| *key == (group, divergent)) && toy.voters("a").len() == 1);
    assert!(!toy.groups[&group].hosts.contains_key(&divergent), "a replica that is right keeps the store");
}

/// Creates a store whose leader is divergent, like the follower that copied the leader's state. Returns the follower that
/// is right.
fn store_with_a_copy_of_a_divergent_leader() -> (Toy, GroupId, ReplicaId) {
    let (mut toy, group, copy) = store_with_divergent_replica(4);
    let m = &toy.groups[&group];
    let source = m.leader;
    let right = *m.configs[0].iter().find(|r| **r != source && **r != copy).unwrap();
    toy.divergent.insert((group, source));
    toy.copied.insert((group, copy), Lineage { source, index: 5 });
    (toy, group, right)
}

#[test]
fn a_divergent_leader_and_its_copy_do_not_outvote_the_replica_that_is_right() {
    let (mut toy, group, right) = store_with_a_copy_of_a_divergent_leader();
    let before = toy.c.groups[&group].replicas.clone();
    for _ in 0..40 {
        toy.pass();
        assert!(toy.fenced.is_empty() && toy.c.groups[&group].replicas == before);
    }
    let sentence = toy.waiting(WaitReason::ReplicaInconsistent).unwrap().sentence;
    assert!(sentence.contains("no replica is copied, moved or removed"), "{sentence}");
    assert!(toy.c.groups[&group].contradicted.is_some(), "no node gives the state away");
    // A person gives the node of a replica up. The two that are left agree, so the store is whole again.
    let given_up = toy.groups[&group].hosts[&right];
    toy.copying = true;
    toy.down.insert(given_up);
    toy.run(Kind::Replace { old: given_up, new: None });
    toy.settle();
    assert!(toy.c.groups[&group].contradicted.is_none() && !toy.voters("a").contains(&given_up.get()));
    assert_eq!(toy.voters("a").len(), 3);
}

#[test]
fn a_copy_that_has_agreed_with_a_majority_since_is_a_witness_of_its_own() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let m = &toy.groups[&group];
    let copy = *m.configs[0].iter().find(|r| **r != m.leader && **r != divergent).unwrap();
    let lineage = Lineage { source: m.leader, index: 5 };
    toy.copied.insert((group, copy), lineage);
    let mut unconfirmed = toy.observe();
    assert_eq!(plan(&toy.c, &unconfirmed).fences, [], "source and copy are a single witness");
    toy.divergent.clear();
    toy.pass();
    toy.divergent.insert((group, divergent));
    assert_eq!(toy.observe().confirmed.get(&(group, copy)), Some(&lineage));
    unconfirmed = toy.observe();
    assert_eq!(plan(&toy.c, &unconfirmed).fences.len(), 1);
    // Another install makes the digests inherited again.
    toy.copied.insert((group, copy), Lineage { index: 6, ..lineage });
    let again = toy.observe();
    assert!(again.confirmed.is_empty() && plan(&toy.c, &again).fences.is_empty());
}

#[test]
fn no_replica_is_replaced_while_two_contradict_each_other_and_the_third_is_away() {
    let (mut toy, group, divergent) = store_with_divergent_replica(4);
    let m = &toy.groups[&group];
    let third = *m.configs[0].iter().find(|r| **r != m.leader && **r != divergent).unwrap();
    let away = m.hosts[&third];
    toy.down.insert(away);
    toy.run(Kind::Replace { old: away, new: None });
    let before = (toy.groups[&group].version, toy.c.groups[&group].replicas.clone());
    for _ in 0..40 {
        toy.pass();
        assert_eq!((toy.groups[&group].version, toy.c.groups[&group].replicas.clone()), before);
    }
    assert!(toy.c.groups[&group].contradicted.is_some() && toy.fenced.is_empty());
    toy.down.clear();
    toy.settle();
    assert!(toy.fenced.contains(&(group, divergent)), "the third replica decides");
    let record = &toy.c.groups[&group];
    assert!(record.contradicted.is_none() && record.nodes().all(|n| n != away) && toy.voters("a").len() == 3);
}

#[test]
fn a_contradiction_is_not_forgotten_because_a_replica_is_away() {
    let (mut toy, group, right) = store_with_a_copy_of_a_divergent_leader();
    for _ in 0..10 {
        toy.pass();
    }
    assert!(toy.c.groups[&group].contradicted.is_some());
    toy.down.insert(toy.groups[&group].hosts[&right]);
    for _ in 0..20 {
        toy.pass();
    }
    assert!(toy.c.groups[&group].contradicted.is_some(), "the replica that is away may be right");
}

/// Fences a voter of store `a` that does not lead, on a cluster whose person frees nothing. Returns the replica and its node.
fn fence_a_follower(toy: &mut Toy) -> (ReplicaId, NodeId) {
    let group = toy.group("a");
    let m = &toy.groups[&group];
    let replica = *m.configs[0].iter().rfind(|r| **r != m.leader).unwrap();
    let node = m.hosts[&replica];
    (toy.frees, toy.writing) = (false, false);
    toy.quiet_down();
    toy.divergent.insert((group, replica));
    for _ in 0..60 {
        toy.pass();
    }
    assert!(toy.fenced.contains(&(group, replica)) && !toy.deleted.contains(&(group, replica)));
    (replica, node)
}

#[test]
fn a_replica_that_waits_for_a_person_does_not_hold_up_the_replacement_of_another_voter() {
    // Another node takes the vote beside a draining node, which cannot leave yet.
    let mut toy = Toy::with_store(4, 3);
    let free = (1..=4).find(|n| !toy.voters("a").contains(n)).unwrap();
    toy.down.insert(NodeId::new(free));
    toy.be_silent();
    let (_, node) = fence_a_follower(&mut toy);
    let drained = NodeId::new(*toy.voters("a").last().unwrap());
    assert_eq!(toy.voters("a").len(), 2);
    toy.run(Kind::Drain(drained));
    toy.down.clear();
    for _ in 0..40 {
        toy.pass();
    }
    let voters = toy.voters("a");
    assert!(voters.contains(&free) && !voters.contains(&node.get()) && voters.len() == 3, "{voters:?}");
    toy.frees = true;
    toy.settle();
    assert!(!toy.voters("a").contains(&drained.get()) && toy.voters("a").len() == 3);

    // A lost node is replaced.
    let mut toy = Toy::with_store(6, 5);
    let free = (1..=6).find(|n| !toy.voters("a").contains(n)).unwrap();
    toy.run(Kind::Drain(NodeId::new(free)));
    toy.settle();
    fence_a_follower(&mut toy);
    assert_eq!(toy.voters("a").len(), 4);
    toy.run(Kind::Register(registration(7)));
    let lost = NodeId::new(*toy.voters("a").first().unwrap());
    toy.down.insert(lost);
    toy.run(Kind::Replace { old: lost, new: Some(NodeId::new(7)) });
    for _ in 0..60 {
        toy.pass();
    }
    let voters = toy.voters("a");
    assert!(voters.contains(&7) && !voters.contains(&lost.get()) && voters.len() == 4, "{voters:?}");
    assert!(matches!(toy.c.nodes[&lost].state, NodeState::Removed { .. }));
}

#[test]
fn nobody_else_is_fenced_while_the_data_of_a_fenced_voter_takes_the_place_of_the_replacement() {
    let mut toy = Toy::with_store(5, 5);
    let (first, _) = fence_a_follower(&mut toy);
    let group = toy.group("a");
    let m = &toy.groups[&group];
    let second = *m.configs[0].iter().find(|r| **r != m.leader).unwrap();
    toy.divergent.insert((group, second));
    for _ in 0..40 {
        toy.pass();
    }
    assert_eq!(toy.fenced, [(group, first)].into());
    toy.frees = true;
    toy.settle();
    assert_eq!(toy.fenced, [(group, first), (group, second)].into());
    assert_eq!(toy.voters("a").len(), 5);
}

#[test]
fn two_voters_that_have_left_are_replaced_while_a_drain_is_blocked() {
    let mut toy = Toy::with_store(5, 5);
    fence_a_follower(&mut toy);
    let group = toy.group("a");
    let m = &toy.groups[&group];
    let broken = *m.configs[0].iter().rfind(|r| **r != m.leader).unwrap();
    toy.broken.insert((group, broken));
    let drained = toy.groups[&group].hosts[&toy.groups[&group].leader];
    toy.run(Kind::Drain(drained));
    toy.frees = true;
    for _ in 0..80 {
        toy.pass();
    }
    assert_eq!(toy.voters("a").len(), 5, "the drained node keeps its replica");
    assert_eq!(toy.c.nodes[&drained].state, NodeState::Draining);
}

#[test]
fn a_node_that_clears_itself_is_a_better_place_than_a_node_that_waits_for_a_person() {
    let mut toy = Toy::with_store(4, 3);
    let free = NodeId::new((1..=4).find(|n| !toy.voters("a").contains(n)).unwrap());
    toy.down.insert(free);
    toy.be_silent();
    let (_, kept) = fence_a_follower(&mut toy);
    assert_eq!(toy.voters("a").len(), 2);
    toy.down.clear();
    let group = toy.group("a");
    while toy.c.groups[&group].on(free).is_none() {
        assert!(toy.pass() > 0, "no replica is added");
    }
    let first = toy.c.groups[&group].on(free).unwrap();
    toy.broken.insert((group, first));
    toy.settle();
    let voters = toy.voters("a");
    assert!(voters.contains(&free.get()) && !voters.contains(&kept.get()) && voters.len() == 3, "{voters:?}");
}

#[test]
fn a_divergent_leader_is_fenced_while_the_store_grows() {
    let mut toy = Toy::with_store(5, 3);
    let (group, voters) = (toy.group("a"), toy.voters("a"));
    let away = NodeId::new((1..=5).find(|n| !voters.contains(n)).unwrap());
    toy.down.insert(away);
    toy.be_silent();
    toy.declare("a", 5);
    for _ in 0..20 {
        toy.pass();
    }
    assert_eq!(toy.voters("a"), voters, "the fifth replica is missing");
    let leader = toy.groups[&group].leader;
    toy.writing = false;
    toy.quiet_down();
    toy.divergent.insert((group, leader));
    for _ in 0..20 {
        toy.pass();
    }
    assert!(toy.fenced.contains(&(group, leader)));
}

#[test]
fn the_replacement_of_a_fenced_voter_keeps_its_copy_while_its_node_is_away() {
    for silent in [false, true] {
        let mut toy = Toy::with_store(4, 3);
        let group = toy.group("a");
        let free = NodeId::new((1..=4).find(|n| !toy.voters("a").contains(n)).unwrap());
        let m = &toy.groups[&group];
        let divergent = *m.configs[0].iter().rfind(|r| **r != m.leader).unwrap();
        (toy.frees, toy.writing) = (false, false);
        toy.quiet_down();
        toy.divergent.insert((group, divergent));
        while !toy.groups[&group].hosts.values().any(|n| *n == free) {
            assert!(toy.pass() > 0 || !toy.is_quiet(), "no learner is added");
        }
        let learner = toy.c.groups[&group].on(free).unwrap();
        toy.down.insert(free);
        if silent {
            toy.be_silent();
        }
        for _ in 0..20 {
            toy.pass();
        }
        assert_eq!(toy.c.groups[&group].on(free), Some(learner), "silent: {silent}");
        assert!(toy.groups[&group].hosts.contains_key(&learner), "the learner stays in the membership");
        toy.down.clear();
        for _ in 0..20 {
            toy.pass();
        }
        assert!(toy.groups[&group].configs[0].contains(&learner) && toy.voters("a").len() == 3);
    }
}

#[test]
fn a_drain_that_a_kept_replica_holds_up_names_the_cause_and_a_silent_node_leaves() {
    let mut toy = Toy::with_store(4, 3);
    let free = NodeId::new((1..=4).find(|n| !toy.voters("a").contains(n)).unwrap());
    let (_, kept) = fence_a_follower(&mut toy);
    assert!(toy.voters("a").contains(&free.get()), "the free node takes the replacement");
    let drained = NodeId::new(toy.voters("a").into_iter().find(|n| *n != free.get()).unwrap());
    toy.run(Kind::Drain(drained));
    for _ in 0..20 {
        toy.pass();
    }
    assert_eq!(toy.voters("a").len(), 3, "a draining node that answers keeps its replica");
    let waits = toy.waiting(WaitReason::ScaleDownBlocked).expect("the cause");
    assert!(waits.sentence.contains(&format!("node {kept} keeps the data")), "{}", waits.sentence);
    toy.down.insert(drained);
    toy.be_silent();
    for _ in 0..40 {
        toy.pass();
    }
    assert!(!toy.voters("a").contains(&drained.get()), "the drain does not wait for a silent node");
    assert!(matches!(toy.c.nodes[&drained].state, NodeState::Removed { .. }));
}
