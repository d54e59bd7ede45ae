//! Rules for store groups: forming, removal, and the steps towards the declared number of replicas.

use super::{
    action::Plan,
    divergence::frozen,
    group_view::{GroupView, kept_until_freed, loss},
    membership::{approach, finish_joint},
    observation::ClusterObservation,
    placement::target,
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, GroupPhase, Kind, NodeState, Replica, ReplicaState, StoreState},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::BTreeSet;

/// Input of the rules, common to all groups of a pass.
pub(super) struct Pass<'a> {
    catalogue: &'a Catalogue,
    cluster: &'a ClusterObservation,
    /// Members by number of replicas, computed once because the count needs all groups.
    by_load: Vec<NodeId>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, cluster: &'a ClusterObservation) -> Self {
        Self { catalogue, cluster, by_load: catalogue.by_load() }
    }
}

/// Plans the next step of a store group, and reports fenced replicas whose data waits for a person. The reports come last,
/// because the status of a store names the first cause of a wait.
pub(super) fn plan(pass: &Pass, id: GroupId, group: &Group, plan: &mut Plan) {
    step(pass, id, group, plan);
    let removing = pass.catalogue.stores.get(&group.store).is_none_or(|s| s.state == StoreState::Removing);
    for (replica, r) in group.replicas.iter().filter(|_| !removing) {
        if kept_until_freed(pass.cluster, id, *replica, r) {
            let sentence = format!(
                "replica {replica} of group {id} on node {} is fenced and has left the group; its data stays until a \
                 person frees the replica",
                r.node
            );
            plan.wait(Some(group.store), Some(r.node), WaitReason::ReplicaInconsistent, sentence);
        }
    }
}

/// Plans the next step of a store group.
fn step(pass: &Pass, id: GroupId, group: &Group, plan: &mut Plan) {
    let (c, o) = (pass.catalogue, pass.cluster);
    drop_leaving(c, o, id, group, plan);
    let Some(store) = c.stores.get(&group.store) else { return };
    if store.state == StoreState::Removing {
        if !group.replicas.is_empty() {
            let sentence = format!("{} nodes still remove their data", group.replicas.len());
            plan.wait(Some(group.store), None, WaitReason::Removing, sentence);
        }
        return;
    }
    for (replica, r) in &group.replicas {
        let Some(loss) = loss(o, id, *replica, r) else { continue };
        let sentence =
            format!("replica {replica} on node {} is {}; a new replica takes its place", r.node, loss.state());
        plan.wait(Some(group.store), Some(r.node), loss.reason(), sentence);
    }
    let Some(observed) = o.groups.get(&id) else {
        plan.wait(Some(group.store), None, WaitReason::NoLeader, leaderless(o, group));
        form_again(pass, id, group, store.replicas as usize, plan);
        return;
    };
    if !observed.quorum {
        plan.wait(Some(group.store), None, WaitReason::NoQuorum, "no majority of the voters answers".into());
        form_again(pass, id, group, store.replicas as usize, plan);
        return;
    }
    // A leader alone proves nothing: if its disk is lost before the first membership is committed, another replica must
    // still be able to form the group.
    if group.phase != GroupPhase::Formed && observed.membership_committed() {
        plan.propose(Kind::GroupFormed(id));
    }
    let view = GroupView { catalogue: c, cluster: o, by_load: &pass.by_load, id, record: group, observed };
    if frozen(o, id, group) {
        let sentence = "replicas contradict each other; no replica is copied, moved or removed until a majority agrees";
        view.wait(plan, WaitReason::ReplicaInconsistent, sentence);
        return;
    }
    if retire_tombstoned(o, id, group, plan) {
        return;
    }
    reach_target(&view, store.replicas, plan);
}

/// Drops leaving replicas from the catalogue once their data is gone.
fn drop_leaving(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    for (replica, r) in &group.replicas {
        if r.state == ReplicaState::Leaving && o.gone(c, id, *replica, r.node) {
            plan.propose(Kind::DropReplica { group: id, replica: *replica });
        }
    }
}

/// Explains in a sentence why a group has no leader, from the phase of the group and the nodes without an answer.
fn leaderless(o: &ClusterObservation, group: &Group) -> String {
    let silent: Vec<String> = group.nodes().filter(|n| !o.reachable(*n)).map(|n| n.to_string()).collect();
    let first = match &group.phase {
        GroupPhase::Creating { initializer, .. } => group.replicas.get(initializer).map(|r| r.node),
        GroupPhase::Formed => None,
    };
    match first {
        Some(node) if !o.reachable(node) && group.replicas.len() > 1 => {
            format!("node {node}, which forms the group, does not answer; another node takes over")
        }
        Some(node) if !o.reachable(node) => format!("node {node}, which forms the group, does not answer"),
        Some(_) => "the group is being formed".to_owned(),
        None if silent.is_empty() => "the group has no leader".to_owned(),
        None => format!("the group has no leader; no answer from node {}", silent.join(", ")),
    }
}

/// Plans a new group for a store whose group was never formed, once an initial voter is lost.
///
/// The other initial voters may be unable to form the group, even a majority of them: a replica that has voted for the lost
/// replica and has not received the first entry forms no group and starts no election. A group that the others can form has
/// a leader before the loss is certain.
///
/// The catalogue proves that the old group has acknowledged nothing: a node accepts appends only after applying the
/// record of the formed group. An initial voter lost too early for the proof merely waits.
fn form_again(pass: &Pass, id: GroupId, group: &Group, replicas: usize, plan: &mut Plan) {
    let (c, o) = (pass.catalogue, pass.cluster);
    let GroupPhase::Creating { initial, .. } = &group.phase else { return };
    let may_form = |r: &ReplicaId| group.replicas.get(r).is_some_and(|x| may_form(c, o, id, *r, x));
    if initial.iter().all(may_form) {
        return;
    }
    let lost = |n: &NodeId| group.on(*n).is_some_and(|r| !may_form(&r)) || o.broken_lately(group.store, *n);
    let free = || pass.by_load.iter().copied().filter(|n| o.reachable(*n));
    // A node that has lost a replica comes last, because the next replica may break there as well.
    let nodes = free().filter(|n| !lost(n)).chain(free().filter(lost));
    let nodes: BTreeSet<NodeId> = nodes.take(replicas).collect();
    if nodes.len() == replicas {
        plan.propose(Kind::FormAgain { group: id, nodes });
    }
}

/// True if the replica may still take part in forming the group: the node answers and has the replica, or may restart.
fn may_form(c: &Catalogue, o: &ClusterObservation, id: GroupId, replica: ReplicaId, r: &Replica) -> bool {
    if r.state == ReplicaState::Leaving || o.tombstoned(id, replica, r.node) || o.loss(id, replica, r.node).is_some() {
        return false;
    }
    let given_up = matches!(
        c.nodes.get(&r.node).map(|n| n.state),
        Some(NodeState::Replacing { .. } | NodeState::Removed { .. }) | None
    );
    o.reachable(r.node) || (o.may_restart(c, r.node) && !given_up)
}

/// Retires replicas removed for good by a node although the catalogue has not retired the replica; returns true if any
/// replica was retired.
///
/// A replica with a tombstone never runs again, so the planner retires the replica at once, although the membership
/// still names the replica. A new replica then replaces the old replica in a single membership change, on the same node
/// if no other node is available, and the number of voters does not fall.
fn retire_tombstoned(o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) -> bool {
    let tombstoned =
        |(replica, r): &(&_, &Replica)| r.state != ReplicaState::Leaving && o.tombstoned(id, **replica, r.node);
    let mut any = false;
    for (replica, r) in group.replicas.iter().filter(tombstoned) {
        plan.propose(Kind::RetireReplica { group: id, replica: *replica });
        let sentence = format!("node {} has removed its replica; a new replica takes its place", r.node);
        plan.wait(Some(group.store), None, WaitReason::Growing, sentence);
        any = true;
    }
    any
}

/// Plans the next step towards `replicas` voters, or reports that too few nodes accept replicas.
fn reach_target(g: &GroupView, replicas: u32, plan: &mut Plan) {
    let state = |n: NodeId| g.catalogue.nodes.get(&n).map(|n| n.state);
    let stays = |n: NodeId| state(n) == Some(NodeState::Member);
    if let Some(to) = target(g, replicas as usize, &stays) {
        approach(g, &to, plan);
        return;
    }
    let sentence = format!("too few nodes for {replicas} replicas; add nodes or declare fewer replicas");
    let leaving = g.record.nodes().find(|n| state(*n) == Some(NodeState::Draining));
    let reason = if leaving.is_some() { WaitReason::ScaleDownBlocked } else { WaitReason::NotEnoughNodes };
    plan.wait(Some(g.record.store), leaving, reason, sentence);
    // A lost voter is replaced even with too few nodes: draining nodes then keep their replicas until enough nodes
    // accept replicas.
    let keeps = |n: NodeId| stays(n) || state(n) == Some(NodeState::Draining);
    match target(g, replicas as usize, &keeps).filter(|_| lacks_a_voter(g, replicas)) {
        Some(to) => approach(g, &to, plan),
        None => finish_joint(g, plan),
    }
}

/// True if a voter of the group is fenced or broken, belongs to a node that is being replaced, or is not recorded as active,
/// or if several voters are left of `replicas`.
///
/// In the first cases the voter is lost, or its replacement votes already and the catalogue has not recorded the vote yet. In
/// the last case a lost voter may have left before its replacement votes; a single voter never remains after a loss.
fn lacks_a_voter(g: &GroupView, replicas: u32) -> bool {
    let replaced = |n: NodeId| {
        let state = g.catalogue.nodes.get(&n).map(|n| n.state);
        matches!(state, Some(NodeState::Replacing { .. } | NodeState::Removed { .. }) | None)
    };
    let runs = |replica| {
        let r = g.record.replicas.get(replica).filter(|r| r.state == ReplicaState::Active);
        r.is_some_and(|r| !g.lost(*replica, r) && !replaced(r.node))
    };
    let voters = g.observed.voters();
    (2..replicas as usize).contains(&voters.len()) || !voters.iter().all(runs)
}

/// Removes stores from the catalogue once their last replica is gone.
pub(super) fn forget_removed_stores(c: &Catalogue, plan: &mut Plan) {
    for (id, store) in &c.stores {
        let empty = || c.groups.get(&store.group).is_none_or(|g| g.replicas.is_empty());
        if store.state == StoreState::Removing && empty() {
            plan.propose(Kind::StoreGone(*id));
        }
    }
}
