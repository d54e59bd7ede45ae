//! Membership steps of a store group towards the target placement.
//!
//! A new replica is added to the catalogue, becomes a learner, catches up and becomes a voter. A surplus replica loses
//! the vote, leaves the membership and is retired from the catalogue.

use super::{
    action::Action, action::Plan, divergence::divergent_in, group_view::GroupView, leadership::successor,
    observation::Loss, wait_reason::WaitReason,
};
use crate::{
    catalogue::{Kind, ReplicaState},
    ids::{NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Sentence for a group whose latest membership may still be replaced by the membership before.
const UNCOMMITTED: &str = "the latest change of the membership is not committed yet";

/// Plans the next step towards voters on exactly the nodes of `target`.
pub(super) fn approach(g: &GroupView, target: &BTreeSet<NodeId>, plan: &mut Plan) {
    if g.observed.joint() {
        finish_joint(g, plan);
        return;
    }
    let (wanted, lost) = replicas_on(g, target, plan);
    record_voters(g, &wanted, plan);
    retire_lost(g, &lost, plan);
    if wanted.len() < target.len() {
        g.wait(plan, WaitReason::Growing, "replicas are being added");
    } else if g.observed.voters() == wanted {
        retire(g, &wanted, plan);
    } else {
        begin_to_learn(g, wanted, plan);
    }
}

/// Finishes a membership change that an earlier leader left joint. The newer voters win, because all newer voters are
/// replicas of the catalogue. The older voters win only if the newer voters have no majority that is right, and the
/// older voters have: a divergent majority would fence the replicas that are right.
pub(super) fn finish_joint(g: &GroupView, plan: &mut Plan) {
    let [older, newer] = g.observed.configs.as_slice() else { return };
    let divergent = divergent_in(g.cluster, g.id);
    let right = |voters: &BTreeSet<ReplicaId>| voters.difference(&divergent).count() * 2 > voters.len();
    let voters = if right(older) && !right(newer) { older } else { newer };
    plan.actions.push(g.change(voters.clone(), BTreeMap::new()));
    g.wait(plan, WaitReason::Changing, "a change of the voters is being finished");
}

/// Returns the usable replicas on the nodes of `target`, and the lost replicas on these nodes with node and cause. Plans
/// a new replica for each node without a replica.
fn replicas_on(
    g: &GroupView,
    target: &BTreeSet<NodeId>,
    plan: &mut Plan,
) -> (BTreeSet<ReplicaId>, BTreeMap<ReplicaId, (NodeId, Loss)>) {
    let (mut found, mut lost) = (BTreeSet::new(), BTreeMap::new());
    for node in target {
        match g.record.on(*node) {
            Some(replica) => match g.cluster.loss(g.id, replica, *node) {
                Some(loss) => drop(lost.insert(replica, (*node, loss))),
                None => drop(found.insert(replica)),
            },
            // The old and the new replica would share their keys, so the node must remove the old data first.
            None if g.still_leaves(*node) => {
                g.wait(plan, WaitReason::Growing, format!("node {node} still removes its former replica"));
            }
            None => plan.propose(Kind::AddReplica { group: g.id, node: *node }),
        }
    }
    (found, lost)
}

/// Retires fenced and broken replicas whose own nodes must take the replacements, because no other nodes are available.
///
/// A lost voter first leaves the membership, and the catalogue retires the replica only after the commit of the smaller
/// membership. Until then, the leader may count an entry in the log of the lost replica towards a majority, so the data
/// must stay. A group whose lost voter has left tolerates as many further losses as before: three voters of which one
/// is lost need two voters for a majority, and so do two voters.
///
/// A majority of the remaining voters must be close to the leader, because only these voters keep the data.
fn retire_lost(g: &GroupView, lost: &BTreeMap<ReplicaId, (NodeId, Loss)>, plan: &mut Plan) {
    let Some((node, loss)) = lost.values().next() else { return };
    let voters = g.observed.voters();
    let left: BTreeSet<ReplicaId> = voters.iter().copied().filter(|r| !lost.contains_key(r)).collect();
    if !g.observed.membership_committed() {
        g.wait(plan, WaitReason::Changing, UNCOMMITTED);
    } else if !g.majority_close(&left) || !left.contains(&g.observed.leader) {
        let state = loss.state();
        let sentence = format!("too few replicas are caught up to remove the {state} replica on node {node}");
        g.wait(plan, WaitReason::NoQuorum, sentence);
    } else if left.len() < voters.len() {
        plan.actions.push(g.change(left, usable_learners(g, lost)));
        let sentence = format!("the {} replica on node {node} leaves the group", loss.state());
        g.wait(plan, WaitReason::Changing, sentence);
    } else {
        lost.keys().for_each(|replica| plan.propose(Kind::RetireReplica { group: g.id, replica: *replica }));
    }
}

/// Returns the present learners that are not lost, each with its node.
fn usable_learners(g: &GroupView, lost: &BTreeMap<ReplicaId, (NodeId, Loss)>) -> BTreeMap<ReplicaId, NodeId> {
    let usable = |r: &ReplicaId| !lost.contains_key(r) && g.record.replicas.contains_key(r);
    let learners = g.observed.learners().into_iter().filter(usable);
    learners.filter_map(|r| g.observed.hosts.get(&r).map(|node| (r, *node))).collect()
}

/// Records in the catalogue that joining replicas have become voters, once the membership is committed.
fn record_voters(g: &GroupView, wanted: &BTreeSet<ReplicaId>, plan: &mut Plan) {
    if !g.observed.membership_committed() {
        return;
    }
    let voters = g.observed.voters();
    for replica in wanted.iter().filter(|r| voters.contains(r)) {
        if g.record.replicas.get(replica).is_some_and(|r| r.state == ReplicaState::Joining) {
            plan.propose(Kind::ReplicaActive { group: g.id, replica: *replica });
        }
    }
}

/// Removes all replicas except the `wanted` voters: first from the membership, then, once the membership is committed,
/// from the catalogue. The nodes then remove the data, and data under an uncommitted membership may still be needed.
fn retire(g: &GroupView, wanted: &BTreeSet<ReplicaId>, plan: &mut Plan) {
    if !g.observed.membership_committed() {
        g.wait(plan, WaitReason::Changing, UNCOMMITTED);
        return;
    }
    if !g.observed.learners().is_empty() {
        if let Some(node) = restarting(g, wanted) {
            let sentence = format!("a replica without a vote stays until node {node} answers again or counts as lost");
            g.wait(plan, WaitReason::CatchingUp, sentence);
            return;
        }
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

/// Returns the first node of the `wanted` replicas that may restart. A learner beside the wanted voters must not leave
/// meanwhile: if the node is lost, the learner takes the vote, and another learner would have to copy the store again.
fn restarting(g: &GroupView, wanted: &BTreeSet<ReplicaId>) -> Option<NodeId> {
    let nodes = wanted.iter().filter_map(|r| g.observed.hosts.get(r));
    nodes.copied().find(|n| g.cluster.may_restart(g.catalogue, *n))
}

/// Makes learners of the wanted replicas without a vote. Once all of these are learners, plans the change of voters.
fn begin_to_learn(g: &GroupView, wanted: BTreeSet<ReplicaId>, plan: &mut Plan) {
    let voters = g.observed.voters();
    // A change names every learner, including present learners: a replica that is not named leaves the membership.
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

/// Moves leadership from a departing leader to a caught-up replica of `stay`.
fn move_leader(g: &GroupView, stay: BTreeSet<ReplicaId>, plan: &mut Plan) {
    match successor(g.cluster, g.id, g.observed, &stay) {
        Some(to) => plan.actions.push(Action::transfer(g.id, g.observed, to)),
        // No replica of `stay` is a caught-up voter, for example when a single voter moves to another node. The new
        // replicas first become voters beside the leader.
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
