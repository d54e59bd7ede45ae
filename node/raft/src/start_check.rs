//! Checks and repairs of a replica's state and log before consensus starts.

use super::{log::log_storage::LogStorage, machine::Machine, types::LogId};
use openraft::{RaftLogReader, storage::RaftLogStorage};
use std::io;

/// Failure to start a replica.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state was deleted for an install, or ends below the purged part of the log. openraft panics on such a state.
    #[error(
        "the replica must be refilled before its start: its state ends before entry {next}, and its log begins at {first}"
    )]
    MustRefill {
        /// Index of the next entry to apply.
        next: u64,
        /// Index of the first entry in the log.
        first: u64,
    },
    /// The disk failed, the log does not decode, or openraft refused the state.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl From<StartError> for io::Error {
    fn from(e: StartError) -> Self {
        match e {
            StartError::MustRefill { .. } => Self::new(io::ErrorKind::InvalidData, e),
            StartError::Failed(e) => e,
        }
    }
}

/// Checks that the log can continue the state.
pub(super) fn can_start(machine: &dyn Machine, log: &LogStorage) -> Result<(), StartError> {
    let next = machine.applied().0.map_or(0, |id| id.index + 1);
    let (first, _) = log.bounds();
    if machine.must_refill() || next < first { Err(StartError::MustRefill { next, first }) } else { Ok(()) }
}

/// Removes the part of the log contradicting the state, a possible remainder of a crash after a fetch of another
/// replica's state. An entry contradicting the last applied entry was never committed, nor were the entries after
/// such an entry.
pub(super) async fn cut_conflicts(log: &mut LogStorage, applied: Option<LogId>) -> io::Result<()> {
    let Some(applied) = applied else { return Ok(()) };
    let (first, end) = log.bounds();
    if applied.index < first || applied.index >= end {
        return Ok(());
    }
    let found = log.try_get_log_entries(applied.index..=applied.index).await?;
    if found.first().is_none_or(|entry| entry.log_id == applied) {
        return Ok(());
    }
    let before = applied.index.checked_sub(1).map(|index| LogId { index, ..applied });
    log.truncate_after(before).await?;
    log.purge(applied).await
}
