//! What the planner does for store groups.

use super::{
    action::Plan,
    group_view::{GroupView, fenced},
    membership::{approach, finish_joint},
    observation::ClusterObservation,
    placement::target,
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, Group, GroupPhase, Kind, NodeState, Replica, ReplicaState, StoreState},
    ids::{GroupId, NodeId},
};

/// Plans the next step of one group.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    drop_leaving(c, o, id, group, plan);
    let Some(store) = c.stores.get(&group.store) else { return };
    if store.state == StoreState::Removing {
        if !group.replicas.is_empty() {
            let sentence = format!("{} nodes still remove their data", group.replicas.len());
            plan.wait(Some(group.store), None, WaitReason::Removing, sentence);
        }
        return;
    }
    for (replica, r) in group.replicas.iter().filter(|(r, x)| fenced(o, id, **r, x)) {
        let sentence = format!("replica {replica} on node {} is fenced; a new one takes its place", r.node);
        plan.wait(Some(group.store), Some(r.node), WaitReason::ReplicaInconsistent, sentence);
    }
    let Some(observed) = o.groups.get(&id) else {
        plan.wait(Some(group.store), None, WaitReason::NoLeader, leaderless(o, group));
        return;
    };
    if !observed.quorum {
        plan.wait(Some(group.store), None, WaitReason::NoQuorum, "no majority of the voters answers".into());
        return;
    }
    if group.phase != GroupPhase::Formed {
        plan.propose(Kind::GroupFormed(id));
    }
    if retire_tombstoned(o, id, group, plan) {
        return;
    }
    let view = GroupView { catalogue: c, cluster: o, id, record: group, observed };
    reach_target(&view, store.replicas, plan);
}

/// Drops replicas from the catalogue whose data is gone.
fn drop_leaving(c: &Catalogue, o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) {
    for (replica, r) in &group.replicas {
        if r.state == ReplicaState::Leaving && o.gone(c, id, *replica, r.node) {
            plan.propose(Kind::DropReplica { group: id, replica: *replica });
        }
    }
}

/// Why a group has no leader, as far as the nodes tell.
fn leaderless(o: &ClusterObservation, group: &Group) -> String {
    let silent: Vec<String> = group.nodes().filter(|n| !o.reachable(*n)).map(|n| n.to_string()).collect();
    let first = match &group.phase {
        GroupPhase::Creating { initializer, .. } => group.replicas.get(initializer).map(|r| r.node),
        GroupPhase::Formed => None,
    };
    match first {
        Some(node) if !o.reachable(node) && group.replicas.len() > 1 => {
            format!("node {node}, which forms the group, does not answer; another one does it in its place")
        }
        Some(node) if !o.reachable(node) => format!("node {node}, which forms the group, does not answer"),
        Some(_) => "the group is being formed".to_owned(),
        None if silent.is_empty() => "the group has no leader".to_owned(),
        None => format!("the group has no leader; no answer from node {}", silent.join(", ")),
    }
}

/// Retires replicas that their nodes have removed for ever while the catalogue still counts on them; true if there are
/// any.
///
/// Such a replica never comes back under its id, so it leaves the catalogue at once, although the membership still
/// names it. A new one then takes its place in one change, on the same node if there is no other, and the number of
/// voters does not fall.
fn retire_tombstoned(o: &ClusterObservation, id: GroupId, group: &Group, plan: &mut Plan) -> bool {
    let tombstoned =
        |(replica, r): &(&_, &Replica)| r.state != ReplicaState::Leaving && o.tombstoned(id, **replica, r.node);
    let mut any = false;
    for (replica, r) in group.replicas.iter().filter(tombstoned) {
        plan.propose(Kind::RetireReplica { group: id, replica: *replica });
        let sentence = format!("node {} has removed its replica; a new one takes its place", r.node);
        plan.wait(Some(group.store), None, WaitReason::Growing, sentence);
        any = true;
    }
    any
}

/// Plans the next step towards `replicas` voters, or says that there are too few nodes for them.
fn reach_target(g: &GroupView, replicas: u32, plan: &mut Plan) {
    let state = |n: NodeId| g.catalogue.nodes.get(&n).map(|n| n.state);
    let stays = |n: NodeId| state(n) == Some(NodeState::Member);
    if let Some(to) = target(g, replicas as usize, &stays) {
        approach(g, &to, plan);
        return;
    }
    let sentence = format!("{replicas} replicas need as many nodes that take replicas");
    let leaving = g.record.nodes().find(|n| state(*n) == Some(NodeState::Draining));
    let reason = if leaving.is_some() { WaitReason::ScaleDownBlocked } else { WaitReason::NotEnoughNodes };
    plan.wait(Some(g.record.store), leaving, reason, sentence);
    // A replica that never runs again is replaced all the same: until there are enough nodes, nodes that leave keep
    // their replicas.
    let keeps = |n: NodeId| stays(n) || state(n) == Some(NodeState::Draining);
    match target(g, replicas as usize, &keeps).filter(|_| lacks_a_voter(g)) {
        Some(to) => approach(g, &to, plan),
        None => finish_joint(g, plan),
    }
}

/// A voter never runs again, since it is fenced or the catalogue has given it up; or the catalogue does not know yet
/// that the replica in its place votes.
fn lacks_a_voter(g: &GroupView) -> bool {
    let runs = |replica| {
        let r = g.record.replicas.get(replica).filter(|r| r.state == ReplicaState::Active);
        r.is_some_and(|r| !g.fenced(*replica, r))
    };
    !g.observed.voters().iter().all(runs)
}

/// Removes stores from the catalogue whose last replica is gone.
pub(super) fn forget_removed_stores(c: &Catalogue, plan: &mut Plan) {
    for (id, store) in &c.stores {
        let empty = c.groups.get(&store.group).is_none_or(|g| g.replicas.is_empty());
        if store.state == StoreState::Removing && empty {
            plan.propose(Kind::StoreGone(*id));
        }
    }
}
