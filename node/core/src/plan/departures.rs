//! Departures: removal of drained and lost nodes from the catalogue.

use super::{action::Plan, group_view::kept_until_freed, observation::ClusterObservation, wait_reason::WaitReason};
use crate::{
    catalogue::{Catalogue, Group, Kind, NodeState, Replica, ReplicaState},
    ids::{GroupId, NodeId},
};

/// Plans the removal of drained and lost nodes once no group names the node, and reports departing nodes that wait.
///
/// A silent node that never confirmed the removal of all data is removed by force:
/// - The old data stays on disk under replica ids without further use, and the disk can only return as a new node.
/// - Until the removal by force, the catalogue keeps all replicas of the node. A node that answers in time, or whose
///   drain is cancelled, therefore removes the old data before receiving new data.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let Some(observed) = o.groups.get(&GroupId::SYSTEM) else { return };
    // The catalogue accepts a single replacement at a time.
    let mut replacing = c.nodes.values().any(|n| matches!(n.state, NodeState::Replacing { .. }));
    for (id, node) in &c.nodes {
        let named = observed.hosts.values().any(|n| n == id) || observed.changing();
        match node.state {
            NodeState::Draining if holds_nothing(c, *id) && !named => plan.propose(Kind::Drained(*id)),
            NodeState::Draining if given_up(c, o, *id) && !named && !replacing => {
                plan.propose(Kind::Replace { old: *id, new: None });
                replacing = true;
            }
            NodeState::Replacing { .. } if unnamed(c, *id) && !named => plan.propose(Kind::Replaced(*id)),
            NodeState::Draining if !o.reachable(*id) => {
                let sentence = format!("the node does not answer; {}", remaining(c, o, *id));
                plan.wait(None, Some(*id), WaitReason::Draining, sentence);
            }
            NodeState::Draining => plan.wait(None, Some(*id), WaitReason::Draining, remaining(c, o, *id)),
            NodeState::Replacing { .. } => plan.wait(None, Some(*id), WaitReason::Replacing, remaining(c, o, *id)),
            NodeState::Member | NodeState::Removed { .. } => {}
        }
    }
}

/// True if no store group names the node; leaving replicas do not count.
pub(super) fn unnamed(c: &Catalogue, node: NodeId) -> bool {
    !c.groups.values().any(|g| g.replicas.values().any(|r| r.node == node && r.state != ReplicaState::Leaving))
}

/// True if no store group names the node and the node has no data left to remove.
pub(super) fn holds_nothing(c: &Catalogue, node: NodeId) -> bool {
    !c.groups.values().any(|g| g.replicas.values().any(|r| r.node == node))
}

/// True if the node is silent and no store group names the node. The drain then does not wait for data that only the
/// node itself could remove.
pub(super) fn given_up(c: &Catalogue, o: &ClusterObservation, node: NodeId) -> bool {
    o.silent(node) && unnamed(c, node)
}

/// Describes the store or group for which a departing node waits, as a sentence.
fn remaining(c: &Catalogue, o: &ClusterObservation, node: NodeId) -> String {
    let on = |r: &&Replica| r.node == node;
    let named = |g: &&Group| g.replicas.values().filter(on).any(|r| r.state != ReplicaState::Leaving);
    let store =
        |g: &Group| c.stores.get(&g.store).map_or_else(|| "a store".to_owned(), |s| format!("store {}", s.name));
    let naming = c.groups.values().filter(named).count();
    if let Some(first) = c.groups.values().find(named) {
        let others = if naming > 1 { format!(" and {} others have", naming - 1) } else { " has".to_owned() };
        return format!("{}{others} a replica on the node", store(first));
    }
    match c.groups.iter().find(|(_, g)| g.replicas.values().any(|r| on(&r))) {
        Some((id, group)) if group.replicas.iter().any(|(r, x)| x.node == node && kept_until_freed(o, *id, *r, x)) => {
            format!("the node keeps the data of a fenced replica of {} until a person frees the replica", store(group))
        }
        Some((_, group)) => format!("the node removes its data of {}", store(group)),
        None => "the system group still names the node".to_owned(),
    }
}
