//! [`PlantedDefect`]: defects of the simulated environment, to prove that the checks can fail.

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
    /// Handshakes show no starts, so a disk that went back to an earlier state is accepted; for whole nodes.
    TrustedDisks,
}
