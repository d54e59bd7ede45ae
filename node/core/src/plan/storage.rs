//! Disks: moves the leaderships of stores away from nodes whose disks are nearly full. Such a node refuses appends as leader,
//! and a follower on the same node still takes entries until the hard mark.

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation},
};
use crate::ids::{GroupId, NodeId, ReplicaId};
use std::{cmp::Reverse, collections::BTreeSet};

/// Returns the nodes whose disks are nearly full.
pub(super) fn low(o: &ClusterObservation) -> BTreeSet<NodeId> {
    o.nodes.iter().filter(|(_, n)| n.storage_low).map(|(node, _)| *node).collect()
}

/// Plans the transfer of every leadership of a store from a node in `low` to the caught-up voter with the most free space, on
/// a node that is neither in `low` nor in `unfit`. Without such a voter the leadership stays.
pub(super) fn plan(o: &ClusterObservation, low: &BTreeSet<NodeId>, unfit: &BTreeSet<NodeId>, plan: &mut Plan) {
    if low.is_empty() {
        return;
    }
    let taken: BTreeSet<GroupId> = plan.actions.iter().filter_map(Action::group).collect();
    for (id, observed) in o.groups.iter().filter(|(_, g)| low.contains(&g.leader_node)) {
        if *id == GroupId::SYSTEM || observed.changing() || taken.contains(id) {
            continue;
        }
        if let Some(to) = roomiest(o, *id, observed, &|node| !low.contains(&node) && !unfit.contains(&node)) {
            plan.actions.push(Action::transfer(*id, observed, to));
        }
    }
}

/// Returns the caught-up voter on the fit node with the most free space; among equals, the lowest id.
fn roomiest(
    o: &ClusterObservation,
    group: GroupId,
    observed: &GroupObservation,
    fit: &dyn Fn(NodeId) -> bool,
) -> Option<ReplicaId> {
    let voters = observed.voters().into_iter().filter(|v| *v != observed.leader && o.caught_up(group, *v));
    let places = voters.filter_map(|v| observed.hosts.get(&v).map(|node| (v, *node)));
    let fit = places.filter(|(_, node)| fit(*node) && o.reachable(*node));
    fit.max_by_key(|(v, node)| (o.nodes.get(node).map_or(0, |n| n.free_bytes), Reverse(*v))).map(|(v, _)| v)
}
