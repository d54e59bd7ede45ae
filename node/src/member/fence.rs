//! Ends a replica whose data is not its group's. First a synced mark beside the tombstones, then everything else: whatever
//! happens in between, the replica never votes, reads, relays or acknowledges again, and `replicas` never opens it. Its
//! data stays until the coordinator has found another replica for its place; then it goes under the usual tombstone.

use super::{member::Member, stop_replicas};
use std::{io, sync::Arc};
use taffrail_core::ids::{Digest, GroupId, NodeId};
use taffrail_proto::peer::{self as pb, fence::Why};
use taffrail_raft::log::{FenceMark, LogKey, LogOp, write_synced};
use taffrail_runtime as rt;

/// The name of it, as conditions and logs use it.
pub const REASON: &str = "ReplicaInconsistent";

/// Why a replica is not fenced.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The sender does not coordinate, as far as is known here.
    #[error("node {0} does not coordinate")]
    NotCoordinator(NodeId),
    /// This node has no such replica, or had.
    #[error("no replica {} of group {} here", .0.replica, .0.group)]
    NoSuchReplica(LogKey),
    /// No evidence, or none that says that the replica is odd.
    #[error("{0}")]
    BadEvidence(&'static str),
    /// The replica itself knows nothing of what is claimed.
    #[error("what this replica had at index {index} is not what is claimed, or not known any more")]
    Unconfirmed {
        /// The index.
        index: u64,
    },
    /// The mark was not written, or the replica has not stopped yet.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Fences a replica of this node on the coordinator's word, if the replica's own digest bears it out. Asked again, it says
/// the same. Whoever asks may give up at any moment: what was begun goes on to its end without it, since a replica whose mark
/// is on the disk must not go on in memory.
///
/// # Errors
/// When the evidence does not hold here, or the disk fails.
pub async fn fence(member: &Arc<Member>, from: NodeId, key: LogKey, ask: &pb::Fence) -> Result<FenceMark, FenceError> {
    if key.group == GroupId::SYSTEM {
        return Err(FenceError::BadEvidence(
            "the system group's replica is the node itself, which is replaced by hand",
        ));
    }
    if member.system.leader().is_none_or(|leader| leader.node != from) {
        return Err(FenceError::NotCoordinator(from));
    }
    let Some(Why::Divergence(claim)) = &ask.why else {
        return Err(FenceError::BadEvidence("a reason that this version does not know"));
    };
    let digest = |bytes: &[u8]| bytes.try_into().map(Digest).map_err(|_| FenceError::BadEvidence("no digest"));
    let (index, own, majority) = (claim.index, digest(&claim.digest)?, digest(&claim.majority)?);
    if own == majority {
        return Err(FenceError::BadEvidence("both digests are the same"));
    }
    // The turn goes with the work, so there is never more than one that nobody waits for.
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

/// Says which replica is fenced and why.
fn say(key: LogKey, mark: &FenceMark) {
    let FenceMark { index, digest, majority, .. } = mark;
    tracing::error!(
        group = %key.group, replica = %key.replica, index, %digest, %majority, reason = REASON,
        "the replica is fenced: it has applied the same entries to another end than the majority; a new one takes its place"
    );
}

/// Stops a fenced replica, if it still runs. Until it has stopped nobody reaches it any more.
///
/// # Errors
/// When it has not stopped in time; it is tried again with the next pass over the catalogue.
pub(super) async fn end(member: &Member, key: LogKey) -> io::Result<()> {
    if let Some(running) = member.not_ended(key.group).filter(|r| r.group.key() == key) {
        stop_replicas::replica(&running.group).await?;
        member.remove(key.group);
    }
    Ok(())
}

/// At a start: says what is fenced on this disk.
pub(super) fn say_all(member: &Member) {
    member.fenced().iter().for_each(|(key, mark)| say(*key, mark));
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
