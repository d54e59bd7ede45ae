//! The disruption grant: the right to take one node of the cluster down.

use super::{cluster_view, parse::node, propose::propose};
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

/// Checks the name of a holder. The name of replacements is reserved, because the planner releases grants under this name.
fn may_hold(holder: &str) -> Result<(), Status> {
    if holder.is_empty() || holder.len() > HOLDER_BYTES_MAX {
        return Err(Status::invalid_argument("holder: must be 1 to 128 bytes"));
    }
    if holder == REPLACEMENT {
        return Err(Status::invalid_argument("holder: this name is reserved for replacements; use another name"));
    }
    Ok(())
}

/// Grants a node to a holder, unless another grant is live or a group would lose the quorum.
pub(super) async fn acquire(
    member: &Arc<Member>,
    request: pb::AcquireDisruptionRequest,
) -> Result<pb::AcquireDisruptionResponse, Status> {
    let id = node(request.node_id)?;
    may_hold(&request.holder)?;
    let denied = |why: String| Ok(pb::AcquireDisruptionResponse { granted: false, denied_by: why });
    let view = cluster_view::fresh(member).await?;
    match cluster_view::of_node(&view, id) {
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

/// Releases a grant once the node has caught up.
pub(super) async fn release(
    member: &Arc<Member>,
    request: pb::ReleaseDisruptionRequest,
) -> Result<pb::ReleaseDisruptionResponse, Status> {
    let id = node(request.node_id)?;
    let view = cluster_view::fresh(member).await?;
    if cluster_view::of_node(&view, id).is_some_and(|n| !n.caught_up) {
        return Ok(pb::ReleaseDisruptionResponse { released: false });
    }
    propose(member, Kind::ReleaseGrant { node: id, holder: request.holder }).await?;
    Ok(pb::ReleaseDisruptionResponse { released: true })
}

/// Acquires the grant for a replacement. A live grant for the lost node counts, because the operator acquires a grant before
/// each step on a node. The inner error names the node and the holder of another live grant.
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

/// Releases the grant of [`for_replacement`] after a refused replacement.
pub(super) async fn release_replacement(member: &Member, lost: NodeId) -> Result<(), Status> {
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
