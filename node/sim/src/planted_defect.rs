//! Defects that are planted on purpose, in the simulated surroundings only: they show that the checks can fail.

use clap::ValueEnum;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
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
