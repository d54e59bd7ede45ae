//! RPC that removes the data of a fenced replica.

use super::cluster_view;
use crate::{
    coordinator::act,
    member::{fence, member::Member},
};
use std::sync::Arc;
use taffrail_core::{
    catalogue::ReplicaState,
    ids::{GroupId, ReplicaId},
};
use taffrail_proto::{admin as pb, peer::RefusalKind};
use taffrail_raft::{log::LogKey, peer::CallError};
use tonic::Status;

/// Removes the data of a fenced replica that has left its group.
///
/// # Errors
/// `NOT_FOUND` for a replica that the catalogue does not name, `FAILED_PRECONDITION` for a replica that is still part of its
/// group or is not fenced, `UNAVAILABLE` if the node of the replica does not answer.
pub(super) async fn free(
    member: &Arc<Member>,
    request: &pb::FreeReplicaRequest,
) -> Result<pb::FreeReplicaResponse, Status> {
    // A fresh view proves that this node is the coordinator, so the applied catalogue is current.
    cluster_view::fresh(member).await?;
    let (group, replica) = (GroupId::new(request.group_id), ReplicaId::new(request.replica_id));
    let catalogue = member.applied();
    let record = catalogue.groups.get(&group).and_then(|g| g.replicas.get(&replica));
    let Some(record) = record else {
        return Err(Status::not_found(format!(
            "group_id, replica_id: group {group} has no replica {replica}, or its data is already removed"
        )));
    };
    if record.state != ReplicaState::Leaving {
        return Err(Status::failed_precondition(format!(
            "replica_id: replica {replica} on node {} is still part of group {group}; only a fenced replica \
             ({}) that has left its group can be freed",
            record.node,
            fence::REASON
        )));
    }
    act::free(member, LogKey { group, replica }, record.node).await.map_err(|e| status(&e))?;
    member.look.notify_one();
    Ok(pb::FreeReplicaResponse {})
}

/// Converts the refusal or failure of the node with the data.
fn status(e: &CallError) -> Status {
    match e {
        CallError::Refused(refusal) if refusal.kind() == RefusalKind::Rejected => {
            Status::failed_precondition(refusal.message.clone())
        }
        CallError::Refused(_) | CallError::Unreachable(_) | CallError::NoAnswer(_) => {
            Status::unavailable(format!("{e}; repeat the call"))
        }
    }
}
