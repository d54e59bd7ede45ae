//! [`PlantedDefect`]: defects of the simulated environment and of the node, to prove that the checks can fail.

use clap::ValueEnum;

/// A defect planted on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlantedDefect {
    /// The log disk reports queued entries as synced.
    AckBeforeSync,
    /// The log disk reports queued votes as synced.
    VoteBeforeSync,
    /// The log disk keeps a hole: a crash loses an unsynced write and keeps a later write.
    ReorderedWrites,
    /// The network answers an append to a follower with success without delivery.
    ForgedAnswer,
    /// Clients repeat an append of unknown outcome under new event ids of the same meaning.
    FreshIdsOnRetry,
    /// A single replica skips some commands.
    OneAppliesDifferently,
    /// Node: the log is purged up to the applied state without a flush.
    PurgeBeforeFlush,
    /// Node: a snapshot may name a later entry than consensus has applied.
    UnclampedSnapshot,
    /// Node: replicas are removed under an uncommitted membership.
    EarlyRetire,
    /// Node: a cache of the latest appends decides about repeats.
    CacheDecidesRepeats,
    /// Node: a failed write of the log is reported as synced.
    SwallowedSyncError,
    /// Node: the checksum of a block is not compared.
    SkippedChecksum,
    /// Node: the expected revision is checked before the proposal only.
    RevisionCheckedByGateway,
    /// Node: a linearizable read does not wait for a read index.
    NoReadIndex,
    /// Node: the id of a removed replica is given to a new replica of the group.
    ReusedReplicaId,
    /// Node: an append without the answer of a follower counts as stored by the follower.
    AckBeforeMajority,
    /// Node: a disk that went back to an earlier state is accepted.
    TrustedDisks,
}

impl PlantedDefect {
    /// Name of the defect in the code of the node ([`taffrail_runtime::planted_defect`]); `None` for a
    /// defect of the environment.
    #[must_use]
    pub fn in_node(self) -> Option<&'static str> {
        match self {
            Self::AckBeforeSync
            | Self::VoteBeforeSync
            | Self::ReorderedWrites
            | Self::ForgedAnswer
            | Self::FreshIdsOnRetry
            | Self::OneAppliesDifferently => None,
            Self::PurgeBeforeFlush => Some("purge-before-flush"),
            Self::UnclampedSnapshot => Some("unclamped-snapshot"),
            Self::EarlyRetire => Some("early-retire"),
            Self::CacheDecidesRepeats => Some("cache-decides-repeats"),
            Self::SwallowedSyncError => Some("swallowed-sync-error"),
            Self::SkippedChecksum => Some("skipped-checksum"),
            Self::RevisionCheckedByGateway => Some("revision-checked-by-gateway"),
            Self::NoReadIndex => Some("no-read-index"),
            Self::ReusedReplicaId => Some("reused-replica-id"),
            Self::AckBeforeMajority => Some("ack-before-majority"),
            Self::TrustedDisks => Some("trusted-disks"),
        }
    }
}
