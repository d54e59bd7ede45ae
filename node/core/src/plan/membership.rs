//! Steps of a store group towards its placement: replicas exist, learn and vote; others stop voting and then leave.

use super::{action::Action, action::Plan, group_view::GroupView, leadership::successor, wait_reason::WaitReason};
use crate::{
    catalogue::{Kind, ReplicaState},
    ids::{NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the next step towards voters on exactly the nodes of `target`.
pub(super) fn approach(g: &GroupView, target: &BTreeSet<NodeId>, plan: &mut Plan) {
    if g.observed.joint() {
        finish_joint(g, plan);
        return;
    }
    let wanted = replicas_on(g, target, plan);
    record_voters(g, &wanted, plan);
    if wanted.len() < target.len() {
        g.wait(plan, WaitReason::Growing, "replicas are being added");
    } else if g.observed.voters() == wanted {
        retire(g, &wanted, plan);
    } else {
        begin_to_learn(g, wanted, plan);
    }
}

/// Finishes a membership change that its leader left half done: the newer voters win, since they name replicas of the
/// catalogue.
pub(super) fn finish_joint(g: &GroupView, plan: &mut Plan) {
    let Some(last) = g.observed.configs.last().filter(|_| g.observed.joint()) else { return };
    plan.actions.push(g.change(last.clone(), BTreeMap::new()));
    g.wait(plan, WaitReason::Changing, "a change of the voters is being finished");
}

/// The replicas on the nodes of `target`; plans a replica where a node has none.
fn replicas_on(g: &GroupView, target: &BTreeSet<NodeId>, plan: &mut Plan) -> BTreeSet<ReplicaId> {
    let mut found = BTreeSet::new();
    for node in target {
        match g.record.on(*node) {
            Some(replica) if g.cluster.fenced(g.id, replica, *node) => retire_fenced(g, replica, *node, plan),
            Some(replica) => {
                found.insert(replica);
            }
            // Both lifetimes would have the same keys: the old data goes before the new comes.
            None if g.still_leaves(*node) => {
                g.wait(plan, WaitReason::Growing, format!("node {node} still removes its former replica"));
            }
            None => plan.propose(Kind::AddReplica { group: g.id, node: *node }),
        }
    }
    found
}

/// Retires a fenced replica whose node must take its successor, since there is no other node. The fenced state
/// contradicts the majority, which must be whole without it.
fn retire_fenced(g: &GroupView, replica: ReplicaId, node: NodeId, plan: &mut Plan) {
    if g.majority_close(&g.observed.voters()) {
        plan.propose(Kind::RetireReplica { group: g.id, replica });
    } else {
        let sentence = format!("too few replicas are caught up to remove the fenced one on node {node}");
        g.wait(plan, WaitReason::NoQuorum, sentence);
    }
}

/// Records in the catalogue which of the new replicas vote by now.
fn record_voters(g: &GroupView, wanted: &BTreeSet<ReplicaId>, plan: &mut Plan) {
    let voters = g.observed.voters();
    for replica in wanted.iter().filter(|r| voters.contains(r)) {
        if g.record.replicas.get(replica).is_some_and(|r| r.state == ReplicaState::Joining) {
            plan.propose(Kind::ReplicaActive { group: g.id, replica: *replica });
        }
    }
}

/// The voters are as wanted: all other replicas leave the membership, and then the catalogue.
fn retire(g: &GroupView, wanted: &BTreeSet<ReplicaId>, plan: &mut Plan) {
    if !g.observed.learners().is_empty() {
        plan.actions.push(g.change(wanted.clone(), BTreeMap::new()));
        g.wait(plan, WaitReason::Changing, "replicas that no longer vote leave the group");
        return;
    }
    for (replica, r) in &g.record.replicas {
        if !wanted.contains(replica) && r.state != ReplicaState::Leaving {
            plan.propose(Kind::RetireReplica { group: g.id, replica: *replica });
        }
    }
}

/// Has wanted replicas that do not vote learn; goes on to change the voters when all of them do.
fn begin_to_learn(g: &GroupView, wanted: BTreeSet<ReplicaId>, plan: &mut Plan) {
    let voters = g.observed.voters();
    // A change names every learner, those that learn already too: a replica that is not named leaves.
    let learners: BTreeMap<ReplicaId, NodeId> = wanted
        .iter()
        .filter(|r| !voters.contains(r))
        .filter_map(|r| g.record.replicas.get(r).map(|x| (*r, x.node)))
        .collect();
    if learners.keys().all(|r| g.observed.hosts.contains_key(r)) {
        change_voters(g, wanted, plan);
        return;
    }
    plan.actions.push(g.change(voters, learners));
    g.wait(plan, WaitReason::Growing, "new replicas begin to learn");
}

/// Changes the voters once every new voter is caught up and a majority of the new voters is close to the leader.
fn change_voters(g: &GroupView, wanted: BTreeSet<ReplicaId>, plan: &mut Plan) {
    let voters = g.observed.voters();
    if let Some(behind) = wanted.iter().find(|r| !voters.contains(r) && !g.caught_up(**r)) {
        let node = g.observed.hosts.get(behind).map_or(0, |n| n.get());
        g.wait(plan, WaitReason::Growing, format!("the replica on node {node} catches up"));
    } else if !g.majority_close(&wanted) {
        g.wait(plan, WaitReason::NoQuorum, "too few replicas are caught up for a change");
    } else if wanted.contains(&g.observed.leader) {
        plan.actions.push(g.change(wanted, BTreeMap::new()));
        g.wait(plan, WaitReason::Changing, "the voters change");
    } else {
        move_leader(g, wanted, plan);
    }
}

/// The leader is to leave: a caught-up replica that stays leads first.
fn move_leader(g: &GroupView, stay: BTreeSet<ReplicaId>, plan: &mut Plan) {
    match successor(g.cluster, g.id, g.observed, &stay) {
        Some(to) => plan.actions.push(Action::transfer(g.id, g.observed, to)),
        // No replica that stays votes yet (one voter moves): the new ones vote beside the leader first.
        None => {
            let mut both = stay;
            both.insert(g.observed.leader);
            if both != g.observed.voters() {
                plan.actions.push(g.change(both, BTreeMap::new()));
            }
        }
    }
    g.wait(plan, WaitReason::Changing, "the leader moves to a replica that stays");
}
