//! The one right to take a node away.

use super::{
    answer::{node, propose},
    view,
};
use crate::node::member::Member;
use std::sync::Arc;
use taffrail_core::{
    catalogue::{CatalogueOutcome, Kind, Refused},
    ids::NodeId,
    plan::grants::{REPLACEMENT, REPLACEMENT_TTL_US},
};
use taffrail_proto::admin as pb;
use tonic::Status;

const HOLDER_BYTES_MAX: usize = 128;
const TTL_MS_MIN: u64 = 1_000;
const TTL_MS_MAX: u64 = 3_600_000;

/// Grants one node to one holder, if no other grant lives and every group can do without the node.
pub(super) async fn acquire(
    member: &Arc<Member>,
    request: pb::AcquireDisruptionRequest,
) -> Result<pb::AcquireDisruptionResponse, Status> {
    let id = node(request.node_id)?;
    if request.holder.is_empty() || request.holder.len() > HOLDER_BYTES_MAX {
        return Err(Status::invalid_argument("holder: must be 1 to 128 bytes"));
    }
    let denied = |why: String| Ok(pb::AcquireDisruptionResponse { granted: false, denied_by: why });
    let view = view::fresh(member).await?;
    match view::of_node(&view, id) {
        None => return denied(format!("there is no node {id}")),
        Some(seen) if !seen.disruption_blocked_by.is_empty() => return denied(seen.disruption_blocked_by.clone()),
        Some(_) => {}
    }
    let ttl_us = request.ttl_ms.clamp(TTL_MS_MIN, TTL_MS_MAX) * 1_000;
    match propose(member, Kind::AcquireGrant { node: id, holder: request.holder, ttl_us }).await? {
        CatalogueOutcome::Refused(why) => denied(why.to_string()),
        _ => Ok(pb::AcquireDisruptionResponse { granted: true, denied_by: String::new() }),
    }
}

/// Ends a grant, but not before the node has caught up.
pub(super) async fn release(
    member: &Arc<Member>,
    request: pb::ReleaseDisruptionRequest,
) -> Result<pb::ReleaseDisruptionResponse, Status> {
    let id = node(request.node_id)?;
    let view = view::fresh(member).await?;
    if view::of_node(&view, id).is_some_and(|n| !n.caught_up) {
        return Ok(pb::ReleaseDisruptionResponse { released: false });
    }
    propose(member, Kind::ReleaseGrant { node: id, holder: request.holder }).await?;
    Ok(pb::ReleaseDisruptionResponse { released: true })
}

/// The grant that a replacement goes on under. Whoever wants it may have taken the lost node's grant already, as before
/// any other step on a node; then that one counts. `Err`: what has the grant instead.
pub(super) async fn for_replacement(member: &Member, lost: NodeId) -> Result<Result<(), Refused>, Status> {
    let kind = Kind::AcquireGrant { node: lost, holder: REPLACEMENT.to_owned(), ttl_us: REPLACEMENT_TTL_US };
    match propose(member, kind).await? {
        CatalogueOutcome::Refused(Refused::GrantHeld { node, .. }) if node == lost => Ok(Ok(())),
        CatalogueOutcome::Refused(why) => Ok(Err(why)),
        _ => Ok(Ok(())),
    }
}

/// Gives back what `for_replacement` took for a replacement that was refused.
pub(super) async fn not_replaced(member: &Member, lost: NodeId) -> Result<(), Status> {
    propose(member, Kind::ReleaseGrant { node: lost, holder: REPLACEMENT.to_owned() }).await.map(drop)
}
