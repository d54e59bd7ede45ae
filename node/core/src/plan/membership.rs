//! Membership steps of a store group towards the target placement.
//!
//! A new replica is added to the catalogue, becomes a learner, catches up and becomes a voter. A surplus replica loses
//! the vote, leaves the membership and is retired from the catalogue.

use super::{
    action::Action, action::Plan, divergence::divergent_in, group_view::GroupView, leadership::successor,
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Kind, NodeState, Replica, ReplicaState},
    ids::{NodeId, ReplicaId},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Sentence for a group whose latest membership may still be replaced by the membership before.
const UNCOMMITTED: &str = "the latest change of the membership is not committed yet";

/// Plans the next step towards voters on exactly the nodes of `target`.
///
/// Nodes that cannot take a replica yet hold nobody up: the step then goes to the places of [`available`].
pub(super) fn approach(g: &GroupView, target: &BTreeSet<NodeId>, plan: &mut Plan) {
    if g.observed.joint() {
        finish_joint(g, plan);
        return;
    }
    let Places { usable, clearing } = available(g, target, plan);
    let found = replicas_on(g, &usable, plan);
    record_voters(g, &found, plan);
    let complete = found.len() == usable.len() + clearing;
    let step = Step::new(g, found, target.len());
    if !complete {
        g.wait(plan, WaitReason::Growing, "replicas are being added");
    } else if g.observed.voters() == step.voters {
        retire(g, &step, plan);
    } else {
        begin_to_learn(g, step, plan);
    }
}

/// Next voters of a group, and further replicas that stay.
struct Step {
    /// Voters after the step.
    voters: BTreeSet<ReplicaId>,
    /// Joining replicas that stay without a vote, because the group has too few voters: another learner would have to copy
    /// the store again.
    spare: BTreeMap<ReplicaId, NodeId>,
}

impl Step {
    /// Creates the step of a group from the `found` replicas, towards `wanted` voters.
    fn new(g: &GroupView, found: BTreeSet<ReplicaId>, wanted: usize) -> Self {
        let mut voters = found;
        let short = voters.len() < wanted;
        if short && voters.len().is_multiple_of(2) && voters.len() > g.observed.voters().len() {
            // An even number of voters tolerates no more losses than the odd number below, and needs a larger majority.
            let behind = |r: &&ReplicaId| (g.caught_up(**r), Reverse(**r));
            let last = voters.iter().filter(|r| !g.observed.voters().contains(r)).min_by_key(behind).copied();
            voters.retain(|r| Some(*r) != last);
        }
        let member = |n| g.catalogue.nodes.get(&n).is_some_and(|n| n.state == NodeState::Member);
        let spare = |(id, r): &(&ReplicaId, &Replica)| {
            short && !voters.contains(id) && r.state == ReplicaState::Joining && !g.lost(**id, r) && member(r.node)
        };
        let spare = g.record.replicas.iter().filter(spare).map(|(id, r)| (*id, r.node)).collect();
        Self { voters, spare }
    }

    /// Returns the present learners that stay. A change of the membership names these, because a replica that is not named
    /// leaves the membership.
    fn learners(&self, g: &GroupView) -> BTreeMap<ReplicaId, NodeId> {
        let present = g.observed.learners();
        self.spare.iter().filter(|(r, _)| present.contains(r)).map(|(r, n)| (*r, *n)).collect()
    }
}

/// Places of the voters of the next step.
struct Places {
    /// Nodes that have a usable replica or can take a new replica now.
    usable: BTreeSet<NodeId>,
    /// Number of nodes that still remove a former replica, and will then take a new replica.
    clearing: usize,
}

/// Returns the places among the nodes of `target`, and in place of each node without a place a further node with a usable
/// voter, if any.
///
/// A node whose replica is lost is no place, so a lost voter leaves the membership even without a successor. The catalogue
/// retires the lost replica only after the commit of the smaller membership: until then, the leader may count an entry in
/// the log of the lost replica towards a majority, so the data must stay. A group whose lost voter has left tolerates as many
/// further losses as before: three voters of which one is lost need two voters for a majority, and so do two voters.
fn available(g: &GroupView, target: &BTreeSet<NodeId>, plan: &mut Plan) -> Places {
    let mut places = Places { usable: BTreeSet::new(), clearing: 0 };
    for node in target {
        match g.record.on(*node) {
            Some(replica) if g.cluster.loss(g.id, replica, *node).is_some() => {}
            // The old and the new replica would share their keys, so the node must remove the old data first.
            None if g.has_fenced(*node) => {}
            None if g.still_leaves(*node) => {
                places.clearing += usize::from(g.cluster.reachable(*node));
                g.wait(plan, WaitReason::Growing, format!("node {node} still removes its former replica"));
            }
            Some(_) | None => drop(places.usable.insert(*node)),
        }
    }
    let mut others = usable_voters(g, target);
    others.sort_unstable_by_key(|n| !g.cluster.reachable(*n));
    others.truncate(target.len() - places.usable.len() - places.clearing);
    let draining = |n: &&NodeId| g.catalogue.nodes.get(n).is_some_and(|n| n.state == NodeState::Draining);
    let kept = target.iter().find(|n| g.has_fenced(**n));
    if let (Some(node), Some(kept)) = (others.iter().find(draining), kept) {
        let sentence = format!("node {node} keeps its replica, because node {kept} keeps the data of a fenced replica");
        plan.wait(Some(g.record.store), Some(*node), WaitReason::ScaleDownBlocked, sentence);
    }
    places.usable.extend(others);
    places
}

/// Returns the nodes outside `target` with a voter that is not lost. A voter is lost on a silent node that is drained, and on
/// a node that is being replaced and does not answer.
fn usable_voters(g: &GroupView, target: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let voters = g.observed.voters();
    let present = |n: NodeId| match g.catalogue.nodes.get(&n).map(|n| n.state) {
        Some(NodeState::Member) => true,
        Some(NodeState::Draining) => !g.cluster.silent(n),
        Some(NodeState::Replacing { .. }) => g.cluster.reachable(n),
        Some(NodeState::Removed { .. }) | None => false,
    };
    let usable = |replica: &ReplicaId| {
        let r = g.record.replicas.get(replica).filter(|r| r.state != ReplicaState::Leaving)?;
        (!g.lost(*replica, r) && present(r.node) && !target.contains(&r.node)).then_some(r.node)
    };
    voters.iter().filter_map(usable).collect()
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

/// Returns the replicas on the nodes of `places`, and plans a new replica for each node without a replica.
fn replicas_on(g: &GroupView, places: &BTreeSet<NodeId>, plan: &mut Plan) -> BTreeSet<ReplicaId> {
    let mut found = BTreeSet::new();
    for node in places {
        match g.record.on(*node) {
            Some(replica) => drop(found.insert(replica)),
            None => plan.propose(Kind::AddReplica { group: g.id, node: *node }),
        }
    }
    found
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

/// Removes all replicas except those of the step: first from the membership, then, once the membership is committed,
/// from the catalogue. The nodes then remove the data, and data under an uncommitted membership may still be needed.
fn retire(g: &GroupView, step: &Step, plan: &mut Plan) {
    if !g.observed.membership_committed() {
        g.wait(plan, WaitReason::Changing, UNCOMMITTED);
        return;
    }
    if !g.observed.learners().iter().all(|r| step.spare.contains_key(r)) {
        if let Some(node) = restarting(g, &step.voters) {
            let sentence = format!("a replica without a vote stays until node {node} answers again or counts as lost");
            g.wait(plan, WaitReason::CatchingUp, sentence);
            return;
        }
        plan.actions.push(g.change(step.voters.clone(), step.learners(g)));
        g.wait(plan, WaitReason::Changing, "replicas that no longer vote leave the group");
        return;
    }
    for (replica, r) in &g.record.replicas {
        let stays = step.voters.contains(replica) || step.spare.contains_key(replica);
        if !stays && r.state != ReplicaState::Leaving {
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

/// Makes learners of the next voters without a vote. Once all of these are learners, plans the change of voters.
fn begin_to_learn(g: &GroupView, step: Step, plan: &mut Plan) {
    let voters = g.observed.voters();
    let mut learners: BTreeMap<ReplicaId, NodeId> = step
        .voters
        .iter()
        .filter(|r| !voters.contains(r))
        .filter_map(|r| g.record.replicas.get(r).map(|x| (*r, x.node)))
        .collect();
    if learners.keys().all(|r| g.observed.hosts.contains_key(r)) {
        change_voters(g, step, plan);
        return;
    }
    learners.extend(step.learners(g));
    plan.actions.push(g.change(voters, learners));
    g.wait(plan, WaitReason::Growing, "new replicas begin to learn");
}

/// Changes the voters once every new voter is caught up and a majority of the new voters is close to the leader.
fn change_voters(g: &GroupView, step: Step, plan: &mut Plan) {
    let voters = g.observed.voters();
    if let Some(behind) = step.voters.iter().find(|r| !voters.contains(r) && !g.caught_up(**r)) {
        let node = g.observed.hosts.get(behind).map_or(0, |n| n.get());
        g.wait(plan, WaitReason::Growing, format!("the replica on node {node} catches up"));
    } else if !g.majority_close(&step.voters) {
        g.wait(plan, WaitReason::NoQuorum, "too few replicas are caught up for a change");
    } else if step.voters.contains(&g.observed.leader) {
        let learners = step.learners(g);
        plan.actions.push(g.change(step.voters, learners));
        g.wait(plan, WaitReason::Changing, "the voters change");
    } else {
        move_leader(g, step, plan);
    }
}

/// Moves leadership from a departing leader to a caught-up voter of the step.
fn move_leader(g: &GroupView, step: Step, plan: &mut Plan) {
    match successor(g.cluster, g.id, g.observed, &step.voters) {
        Some(to) => plan.actions.push(Action::transfer(g.id, g.observed, to)),
        // No voter of the step is a caught-up voter now, for example when a single voter moves to another node. The new
        // replicas first become voters beside the leader.
        None => {
            let learners = step.learners(g);
            let mut both = step.voters;
            both.insert(g.observed.leader);
            if both != g.observed.voters() {
                plan.actions.push(g.change(both, learners));
            }
        }
    }
    g.wait(plan, WaitReason::Changing, "the leader moves to a replica that stays");
}
