//! Fencing of replicas: stops a replica for good because its data contradicts the majority of the group.
//!
//! A fence first writes a synced mark beside the tombstones of the disk, then stops the replica. From the mark on, also
//! across a crash, the replica never votes, reads, relays or acknowledges again, and [`replicas`](super::replicas)
//! never opens the replica. The coordinator replaces the replica, and the data stays until a person frees the replica
//! ([`free_replica`](super::free_replica)) or deletes the store.

use super::{member::Member, stop_replicas};
use std::{io, sync::Arc};
use taffrail_core::ids::{Digest, GroupId, NodeId};
use taffrail_proto::peer::{self as pb, fence::Why};
use taffrail_raft::log::{FenceMark, LogKey, LogOp, write_synced};
use taffrail_runtime as rt;

/// Reason of a fence, as used by conditions and logs.
pub const REASON: &str = "ReplicaInconsistent";

/// The reason why a request to fence a replica failed.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The sender is not the leader of the system group as far as this node knows.
    #[error("node {0} is not the coordinator as far as this node knows")]
    NotCoordinator(NodeId),
    /// The replica does not run on this node and is not fenced on this node.
    #[error("this node has no replica {} of group {}", .0.replica, .0.group)]
    NoSuchReplica(LogKey),
    /// The request has no evidence of a divergence, or the evidence is malformed.
    #[error("{0}")]
    BadEvidence(&'static str),
    /// The replica cannot confirm the claimed digest.
    #[error("index {index}: the digest of this replica differs from the claimed digest or is no longer kept")]
    Unconfirmed {
        /// Log index of the claimed digest.
        index: u64,
    },
    /// The disk did not write the mark, or the replica has not stopped yet.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Fences a replica of this node at the request of the coordinator, if the digest kept by the replica confirms the
/// claim. Returns the evidence of the fence. A repeated request returns the same evidence.
///
/// The caller may drop the future at any moment. A fence in progress completes in a task of its own, because a replica
/// with a mark on the disk must not keep running in memory.
///
/// # Errors
/// The replica does not confirm the evidence, the request is not from the coordinator, or the disk fails.
pub async fn fence(member: &Arc<Member>, from: NodeId, key: LogKey, ask: &pb::Fence) -> Result<FenceMark, FenceError> {
    if key.group == GroupId::SYSTEM {
        return Err(FenceError::BadEvidence("a replica of the system group cannot be fenced alone; replace the node"));
    }
    if member.system.leader().is_none_or(|leader| leader.node != from) {
        return Err(FenceError::NotCoordinator(from));
    }
    let Some(Why::Divergence(claim)) = &ask.why else {
        return Err(FenceError::BadEvidence("the request gives no reason that this version knows"));
    };
    let digest = |bytes: &[u8]| {
        bytes
            .try_into()
            .map(Digest)
            .map_err(|_| FenceError::BadEvidence("a digest of the evidence does not have 32 bytes"))
    };
    let (index, own, majority) = (claim.index, digest(&claim.digest)?, digest(&claim.majority)?);
    if own == majority {
        return Err(FenceError::BadEvidence("both digests of the evidence are the same"));
    }
    // The task below holds the lock, so at most a single fence without a waiting caller is in progress.
    let turn = Arc::clone(&member.turn).lock_owned().await;
    let (before, mark) = match member.fence_of(key) {
        Some(mark) => (true, mark),
        None => {
            let running = member.not_ended(key.group).filter(|r| r.group.key() == key);
            let running = running.ok_or(FenceError::NoSuchReplica(key))?;
            if running.group.digest_at(index) != Some(own) {
                return Err(FenceError::Unconfirmed { index });
            }
            (false, FenceMark { partition: running.partition, index, digest: own, majority })
        }
    };
    let member = Arc::clone(member);
    let work = rt::spawn(async move {
        let _turn = turn;
        if !before {
            write_synced(&*member.parts.home.disk, key, LogOp::Fenced(mark)).await?;
            member.remember_fenced(key, mark);
            say(key, &mark);
        }
        end(&member, key).await?;
        member.look.notify_one();
        Ok(mark)
    });
    work.await.map_err(io::Error::other)?
}

/// Logs the fence of a replica with the evidence.
fn say(key: LogKey, mark: &FenceMark) {
    let FenceMark { index, digest, majority, .. } = mark;
    tracing::error!(
        group = %key.group, replica = %key.replica, index, %digest, %majority, reason = REASON,
        "the replica is fenced: it reached a different state than the majority after applying the same log; \
         a new replica replaces it"
    );
}

/// Stops a fenced replica that still runs. No request reaches a fenced replica, even before the replica has stopped.
///
/// # Errors
/// The replica has not stopped in time. The next reconcile of the catalogue stops the replica again.
pub(super) async fn end(member: &Member, key: LogKey) -> io::Result<()> {
    if let Some(running) = member.not_ended(key.group).filter(|r| r.group.key() == key) {
        stop_replicas::replica(&running.group).await?;
        member.remove(key.group);
    }
    Ok(())
}

/// Logs all fenced replicas of this disk, at the start of the node.
pub(super) fn say_all(member: &Member) {
    member.fenced().iter().for_each(|(key, mark)| say(*key, mark));
}

#[cfg(test)]
mod tests;
