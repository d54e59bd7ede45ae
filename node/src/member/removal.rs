//! Removal of the data of replicas, in three durable steps: the tombstone, the deletion of the rows, and the tombstone
//! marked as cleared. The first step ends the replica for good, and the start of the node completes the other steps
//! after a crash.

use std::{io, sync::Arc};
use taffrail_core::ids::{GroupId, PartitionId};
use taffrail_raft::log::{LogDisk, LogKey, LogOp, ReplicaState, Tombstone, write_synced};
use taffrail_runtime::{self as rt, failpoint};
use taffrail_storage::store::{state_db::StateDb, store_machine::delete_group};

/// Removes the data of a replica. The caller must have stopped the replica.
///
/// # Errors
/// When the log or the state database fails. A repeated call continues the removal.
pub(super) async fn remove(
    disk: &dyn LogDisk,
    db: &Arc<StateDb>,
    key: LogKey,
    partition: PartitionId,
) -> io::Result<()> {
    write_synced(disk, key, LogOp::Deleted(Tombstone { partition, cleared: false })).await?;
    failpoint::reach("replica-tombstone-written");
    clear(disk, db, key, partition).await
}

/// Completes all removals of this disk that a crash has interrupted. The caller must not have started any replica of
/// a store yet.
///
/// # Errors
/// When the log or the state database fails.
pub(super) async fn complete(disk: &dyn LogDisk, db: &Arc<StateDb>) -> io::Result<()> {
    for (key, state) in disk.replicas().await? {
        if let ReplicaState::Deleted(Tombstone { partition, cleared: false }) = state {
            tracing::info!(group = %key.group, replica = %key.replica, "completing the removal of a replica");
            clear(disk, db, key, partition).await?;
        }
    }
    Ok(())
}

/// Deletes the rows of a replica with a tombstone and records the deletion.
async fn clear(disk: &dyn LogDisk, db: &Arc<StateDb>, key: LogKey, partition: PartitionId) -> io::Result<()> {
    // All replicas of a group on a node use the same partition. Before the creation of a later replica the rows of this
    // replica were deleted, so the present rows belong to the later replica.
    let other = |(k, state): &(LogKey, ReplicaState)| *k != key && holds(state) == Some(partition);
    if !disk.replicas().await?.iter().any(other) {
        delete_rows(db, key.group, partition).await?;
    }
    failpoint::reach("replica-rows-deleted");
    write_synced(disk, key, LogOp::Deleted(Tombstone { partition, cleared: true })).await
}

/// Returns the partition with the rows of a replica that is not removed.
fn holds(state: &ReplicaState) -> Option<PartitionId> {
    match state {
        ReplicaState::Live(partition) => Some(*partition),
        ReplicaState::Fenced(mark) => Some(mark.partition),
        ReplicaState::Deleted(_) => None,
    }
}

/// Deletes all rows of a group and of its partition, and flushes the deletion.
///
/// # Errors
/// When the state database fails.
pub(super) async fn delete_rows(db: &Arc<StateDb>, group: GroupId, partition: PartitionId) -> io::Result<()> {
    let db = Arc::clone(db);
    rt::blocking(move || delete_group(&db, group, partition)).await.map_err(io::Error::other)?.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
