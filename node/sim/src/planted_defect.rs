//! [`PlantedDefect`]: defects of the simulated environment, which prove that the checks can fail.

use clap::ValueEnum;

/// A defect that a run plants on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlantedDefect {
    /// The log disk reports entries as synced as soon as they are queued.
    AckBeforeSync,
    /// The log disk reports votes as synced as soon as they are queued.
    VoteBeforeSync,
    /// The log disk keeps a hole: at a crash one unsynced write is lost and a later one is kept.
    ReorderedWrites,
    /// The network answers an append of a follower with success without having delivered it.
    ForgedAnswer,
    /// Clients repeat an append of unknown outcome under new event ids of the same meaning.
    FreshIdsOnRetry,
    /// One replica passes over now and then what the others apply.
    OneAppliesDifferently,
}
