//! Removal of the data of a fenced replica at the request of a person.
//!
//! The request reaches the node through the coordinator. The node removes the data only once the applied catalogue has
//! retired the replica. The coordinator retires a replica after the commit of a membership without the replica, and the
//! catalogue never takes a retirement back, so no leader counts on the removed data.

use super::{member::Member, replicas};
use std::{io, sync::Arc};
use taffrail_core::{
    catalogue::{Replica, ReplicaState},
    ids::NodeId,
};
use taffrail_proto::peer::{Refusal, RefusalKind};
use taffrail_raft::{log::LogKey, peer::dispatch::refusal};
use taffrail_runtime as rt;

/// The reason why a node did not free a replica.
#[derive(Debug, thiserror::Error)]
pub enum FreeError {
    /// The sender is not the leader of the system group as far as this node knows.
    #[error("node {0} is not the coordinator as far as this node knows")]
    NotCoordinator(NodeId),
    /// No replica with this id is fenced on this node.
    #[error("replica {} of group {} is not fenced on this node", .0.replica, .0.group)]
    NotFenced(LogKey),
    /// The applied catalogue has not retired the replica.
    #[error("replica {} of group {} has not left its group yet; the group may still count on the data", .0.replica, .0.group)]
    InUse(LogKey),
    /// The disk did not remove the data, or the replica has not stopped yet.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<FreeError> for Refusal {
    fn from(e: FreeError) -> Self {
        let kind = match &e {
            FreeError::NotCoordinator(_) | FreeError::NotFenced(_) | FreeError::InUse(_) => RefusalKind::Rejected,
            FreeError::Io(_) => RefusalKind::Unavailable,
        };
        refusal(kind, e.to_string())
    }
}

/// Removes the data of a fenced replica of this node under a tombstone. Succeeds for a replica that was removed before.
///
/// The caller may drop the future at any moment. A removal in progress completes in a task of its own, because only a
/// restart would complete an interrupted removal.
///
/// # Errors
/// The request is not from the coordinator, the replica is not fenced or not retired, or the disk fails.
pub async fn free(member: &Arc<Member>, from: NodeId, key: LogKey) -> Result<(), FreeError> {
    if member.system.leader().is_none_or(|leader| leader.node != from) {
        return Err(FreeError::NotCoordinator(from));
    }
    // The task below holds the lock, so at most a single removal without a waiting caller is in progress.
    let turn = Arc::clone(&member.turn).lock_owned().await;
    if member.is_deleted(key) {
        return Ok(());
    }
    let mark = member.fence_of(key).ok_or(FreeError::NotFenced(key))?;
    if !is_retired(member, key) {
        return Err(FreeError::InUse(key));
    }
    let member = Arc::clone(member);
    let work = rt::spawn(async move {
        let _turn = turn;
        replicas::remove(&member, key, mark.partition).await?;
        tracing::warn!(group = %key.group, replica = %key.replica, "the data of the fenced replica was removed on request");
        Ok(())
    });
    work.await.map_err(io::Error::other)?
}

fn is_retired(member: &Member, key: LogKey) -> bool {
    let catalogue = member.applied();
    let replica = catalogue.groups.get(&key.group).and_then(|group| group.replicas.get(&key.replica));
    replica.is_some_and(|Replica { state, .. }| *state == ReplicaState::Leaving)
}
