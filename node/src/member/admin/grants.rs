//! The one right to take a node away.

use super::{
    answer::{node, propose},
    view,
};
use crate::member::member::Member;
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

/// The planner gives back what is held under the name of replacements; nobody else may take it for its own.
fn may_hold(holder: &str) -> Result<(), Status> {
    if holder.is_empty() || holder.len() > HOLDER_BYTES_MAX {
        return Err(Status::invalid_argument("holder: must be 1 to 128 bytes"));
    }
    if holder == REPLACEMENT {
        return Err(Status::invalid_argument("holder: this name is kept for replacements"));
    }
    Ok(())
}

/// Grants one node to one holder, if no other grant lives and every group can do without the node.
pub(super) async fn acquire(
    member: &Arc<Member>,
    request: pb::AcquireDisruptionRequest,
) -> Result<pb::AcquireDisruptionResponse, Status> {
    let id = node(request.node_id)?;
    may_hold(&request.holder)?;
    let denied = |why: String| Ok(pb::AcquireDisruptionResponse { granted: false, denied_by: why });
    let view = view::fresh(member).await?;
    match view::of_node(&view, id) {
        None => return denied(format!("there is no node {id}")),
        Some(seen) if !seen.disruption_blocked_by.is_empty() => return denied(seen.disruption_blocked_by.clone()),
        Some(_) => {}
    }
    let ttl_us = request.ttl_ms.clamp(TTL_MS_MIN, TTL_MS_MAX) * 1_000;
    if let CatalogueOutcome::Refused(why) =
        propose(member, Kind::AcquireGrant { node: id, holder: request.holder, ttl_us }).await?
    {
        return denied(why.to_string());
    }
    Ok(pb::AcquireDisruptionResponse { granted: true, denied_by: String::new() })
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
        CatalogueOutcome::Done
        | CatalogueOutcome::Node(_)
        | CatalogueOutcome::NodeRemoved { .. }
        | CatalogueOutcome::Store(_)
        | CatalogueOutcome::Replica(_) => Ok(Ok(())),
    }
}

/// Gives back what `for_replacement` took for a replacement that was refused.
pub(super) async fn not_replaced(member: &Member, lost: NodeId) -> Result<(), Status> {
    propose(member, Kind::ReleaseGrant { node: lost, holder: REPLACEMENT.to_owned() }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_a_grant_under_the_name_of_replacements() {
        let longest = "o".repeat(HOLDER_BYTES_MAX);
        assert!(may_hold("operator").is_ok() && may_hold(&longest).is_ok());
        for holder in ["", REPLACEMENT, &format!("{longest}o")] {
            assert_eq!(may_hold(holder).unwrap_err().code(), tonic::Code::InvalidArgument, "{holder}");
        }
    }
}
