//! [`Machine`]: the state that a group replicates, as consensus sees it.

use super::types::{Entry, LogId, Reply, StoredMembership};
use taffrail_core::ids::Digest;
use taffrail_proto::peer::CatchUpChunk;
use taffrail_store_api::Applied;

/// Failure that stops a state machine, and with it the replica; no call is retried.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Stored or received bytes do not decode or fail their checksum.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A command of a kind or a rules number that this version does not know.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// RocksDB failed.
    #[error("storage: {0}")]
    Storage(String),
}

/// The events that a replica has, from which a source computes which events to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUpPoint {
    /// Position after the last one it has.
    pub next_position: u64,
    /// Digest of the events up to there.
    pub digest: Digest,
}

/// A state machine whose data and applied log id change in one write.
///
/// [`SharedMachine`](crate::shared_machine::SharedMachine) makes the calls: one at a time, away from the runtime's
/// threads, so a call may block on RocksDB. An install is `begin_install`, `install` for each chunk, then
/// `finish_install` or `abort_install`; `apply` is not called in between.
pub trait Machine: Send + 'static {
    /// Last applied log id and the membership as of it, memory included.
    fn applied(&self) -> (Option<LogId>, StoredMembership);
    /// The same as of the last flush: all that survives a crash.
    ///
    /// # Errors
    /// When storage fails.
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError>;
    /// Applies consecutive entries, data and applied log id in one write; one reply an entry.
    ///
    /// # Errors
    /// Fatal for the replica.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError>;
    /// Makes everything applied survive a crash.
    ///
    /// # Errors
    /// Fatal for the node.
    fn flush(&mut self) -> Result<(), MachineError>;
    /// How far the machine has applied, for waiting readers.
    fn progress(&self) -> Applied;
    /// Running digest of all outcomes, as of `applied`.
    fn digest(&self) -> Digest;
    /// The events that this replica has.
    fn catch_up_point(&self) -> CatchUpPoint;
    /// Begins to take over the state of a source; the machine serves nothing until the install ends.
    ///
    /// # Errors
    /// When storage fails.
    fn begin_install(&mut self) -> Result<(), MachineError>;
    /// Takes one chunk.
    ///
    /// # Errors
    /// When storage fails or the chunk does not decode.
    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError>;
    /// Makes the new state current, durably.
    ///
    /// # Errors
    /// When storage fails or the last chunk did not come.
    fn finish_install(&mut self) -> Result<(), MachineError>;
    /// Ends the install and deletes the rows that it has received.
    ///
    /// # Errors
    /// When storage fails.
    fn abort_install(&mut self) -> Result<(), MachineError>;
}
