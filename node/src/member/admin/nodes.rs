//! RPCs for the removal of nodes: drain, cancel a drain, replace a lost node.

use super::{
    cluster_view, grants,
    parse::node,
    propose::{propose, propose_if_needed, refused},
};
use crate::member::member::Member;
use std::sync::Arc;
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, Kind, NodeState},
    ids::NodeId,
    plan::WaitReason,
};
use taffrail_proto::admin::{self as pb, ClusterView};
use tonic::Status;

/// Moves all replicas off a node. The operator repeats the call until the drain is done.
pub(super) async fn drain(
    member: &Arc<Member>,
    request: pb::DrainNodeRequest,
) -> Result<pb::DrainNodeResponse, Status> {
    let id = node(request.node_id)?;
    if let CatalogueOutcome::Refused(why) = propose_if_needed(member, Kind::Drain(id)).await? {
        return Err(refused(&why));
    }
    let view = cluster_view::fresh(member).await?;
    let done = gone(&member.applied(), id);
    let blocked = view
        .stores
        .iter()
        .find(|s| WaitReason::from_name(&s.reason) == Some(WaitReason::ScaleDownBlocked))
        .filter(|_| !done);
    let (reason, waiting_for) = match blocked {
        Some(store) => {
            let name = store.store.as_ref().map_or("", |s| s.name.as_str());
            (store.reason.clone(), format!("store {name}: {}", store.waiting_for))
        }
        None => (String::new(), cluster_view::of_node(&view, id).map(|n| n.waiting_for.clone()).unwrap_or_default()),
    };
    Ok(pb::DrainNodeResponse { done, reason, waiting_for })
}

/// Cancels a drain.
pub(super) async fn cancel_drain(
    member: &Member,
    request: pb::CancelDrainRequest,
) -> Result<pb::CancelDrainResponse, Status> {
    let id = node(request.node_id)?;
    if let CatalogueOutcome::Refused(why) = propose_if_needed(member, Kind::CancelDrain(id)).await? {
        return Err(refused(&why));
    }
    Ok(pb::CancelDrainResponse {})
}

/// Replaces a lost node under the disruption grant. The operator repeats the call until the replacement is done.
pub(super) async fn replace(
    member: &Arc<Member>,
    request: pb::ReplaceNodeRequest,
) -> Result<pb::ReplaceNodeResponse, Status> {
    let old = node(request.old_node_id)?;
    let new = (request.new_node_id != 0).then(|| NodeId::new(request.new_node_id));
    let waits = |waiting_for: String| Ok(pb::ReplaceNodeResponse { done: false, waiting_for });
    let seen = cluster_view::fresh(member).await?;
    if !given_up(&member.applied(), old) {
        if let Some(why) = needed(&seen, old) {
            return waits(format!("the node is still needed: {why}"));
        }
        if let Err(why) = grants::for_replacement(member, old).await? {
            return waits(format!("the disruption grant: {why}"));
        }
        if let CatalogueOutcome::Refused(why) = propose(member, Kind::Replace { old, new }).await? {
            grants::release_replacement(member, old).await?;
            return Err(refused(&why));
        }
    } else if let CatalogueOutcome::Refused(why) = propose_if_needed(member, Kind::Replace { old, new }).await? {
        return Err(refused(&why));
    }
    let waiting = seen.replacements.iter().find(|r| r.old_node_id == old.get());
    let waiting_for = waiting.map(|r| r.waiting_for.clone()).unwrap_or_default();
    Ok(pb::ReplaceNodeResponse { done: gone(&member.applied(), old), waiting_for })
}

/// True for a node in replacement and for a removed node.
fn given_up(c: &Catalogue, id: NodeId) -> bool {
    gone(c, id) || c.nodes.get(&id).is_some_and(|n| matches!(n.state, NodeState::Replacing { .. }))
}

fn gone(c: &Catalogue, id: NodeId) -> bool {
    c.nodes.get(&id).is_none_or(|n| matches!(n.state, NodeState::Removed { .. }))
}

/// Returns the reason why a node must not be replaced: a group would lose the quorum without the node.
pub(in crate::member) fn needed(view: &ClusterView, id: NodeId) -> Option<String> {
    let blocked =
        cluster_view::of_node(view, id).map(|n| n.disruption_blocked_by.clone()).filter(|why| !why.is_empty());
    let half = || half_of_the_system(view, id).then(|| "the node is one of two voters of the system group".to_owned());
    blocked.or_else(half)
}

/// True for a voter of a system group with two voters. Such a node may be away for a while, since no arrangement of two
/// voters avoids this, but must not be replaced: the group would lose the majority for good.
fn half_of_the_system(view: &ClusterView, id: NodeId) -> bool {
    let voters = || view.nodes.iter().filter_map(|n| n.node.as_ref()).filter(|n| n.system_voter);
    voters().count() == 2 && voters().any(|n| n.node_id == id.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::v1;

    fn seen(node_id: u64, system_voter: bool) -> pb::NodeView {
        pb::NodeView {
            node: Some(v1::Node { node_id, system_voter, ..v1::Node::default() }),
            ..pb::NodeView::default()
        }
    }

    fn view(nodes: Vec<pb::NodeView>) -> ClusterView {
        ClusterView { nodes, ..ClusterView::default() }
    }

    #[test]
    fn one_of_two_system_voters_is_not_given_up() {
        let two = view(vec![seen(1, true), seen(2, true), seen(3, false)]);
        assert!(needed(&two, NodeId::new(1)).is_some() && needed(&two, NodeId::new(3)).is_none());
        let three = view(vec![seen(1, true), seen(2, true), seen(3, true)]);
        assert!(needed(&three, NodeId::new(1)).is_none());
    }

    #[test]
    fn a_node_that_a_group_needs_is_not_given_up_whatever_its_state() {
        for state in [v1::NodeState::Member, v1::NodeState::Draining] {
            let mut node = seen(2, false);
            node.disruption_blocked_by = "store orders would keep 1 caught-up of 3 voters".into();
            if let Some(record) = &mut node.node {
                record.state = state.into();
            }
            assert!(needed(&view(vec![node]), NodeId::new(2)).is_some_and(|why| why.contains("orders")));
        }
    }
}
