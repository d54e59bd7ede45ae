//! [`Machine`]: the replicated state of a group, as seen by consensus.

use super::types::{Entry, LogId, Reply, StoredMembership};
use taffrail_core::{ids::Digest, plan::Lineage};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_store_api::Applied;

/// Failure of a state machine. The failure stops the replica, and no call is retried.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Stored or received bytes do not decode or fail their checksum.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A command has a kind or a rules number unknown to this version.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// RocksDB failed to read or write.
    #[error("storage: {0}")]
    Storage(String),
    /// The replica has stopped, or an earlier call panicked. The state database was not touched.
    #[error("the state machine is closed: the replica has stopped, or an earlier call panicked")]
    Closed,
}

/// Extent of a receiving replica's events; the source of a catch-up computes from the extent which events to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUpPoint {
    /// Position after the last event of the replica.
    pub next_position: u64,
    /// Digest of the events before `next_position`.
    pub digest: Digest,
}

/// A flush that runs without its machine, on a thread that may block.
pub type DetachedFlush = Box<dyn FnOnce() -> Result<(), MachineError> + Send>;

/// A state machine whose data and applied log id change in one write.
///
/// [`SharedMachine`](crate::shared_machine::SharedMachine) makes one call at a time, away from the runtime's threads,
/// so a call may block on RocksDB. An install consists of [`begin_install`](Self::begin_install),
/// [`install`](Self::install) for each chunk, and then [`finish_install`](Self::finish_install) or
/// [`abort_install`](Self::abort_install); [`apply`](Self::apply) is not called in between.
pub trait Machine: Send + 'static {
    /// Returns the last applied log id and the membership as of this log id, including state that is not flushed.
    fn applied(&self) -> (Option<LogId>, StoredMembership);
    /// Returns the last applied log id and the membership as of the last flush: the state after a crash.
    ///
    /// # Errors
    /// When storage fails.
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError>;
    /// Applies consecutive entries and returns a reply for each entry. Data and applied log id change in one write.
    ///
    /// # Errors
    /// Every error is fatal for the replica.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError>;
    /// Makes all applied entries survive a crash.
    ///
    /// # Errors
    /// Every error is fatal for the node.
    fn flush(&mut self) -> Result<(), MachineError>;
    /// Returns a function with the effect of [`flush`](Self::flush) that needs no access to the machine, so that entries
    /// are applied during the flush; `None` if only [`flush`](Self::flush) itself can make state durable.
    fn detached_flush(&self) -> Option<DetachedFlush> {
        None
    }
    /// Returns the progress of the applied state, for waiting readers.
    fn progress(&self) -> Applied;
    /// Returns the running digest of all outcomes as of [`applied`](Self::applied).
    fn digest(&self) -> Digest;
    /// Returns the origin of the state, or `None` when this replica applied the whole log.
    fn copied_from(&self) -> Option<Lineage> {
        None
    }
    /// Returns the extent of this replica's events, for a request to a source.
    fn catch_up_point(&self) -> CatchUpPoint;
    /// Returns true when the state was deleted for an install that has not finished. Consensus must not start on such a
    /// state: the log may no longer hold the entries that lead to the state. A failed install leaves the value true.
    fn must_refill(&self) -> bool;
    /// Begins an install of another replica's state. The machine applies and serves nothing until an install finishes.
    ///
    /// # Errors
    /// When storage fails.
    fn begin_install(&mut self) -> Result<(), MachineError>;
    /// Stores a chunk of the source's state.
    ///
    /// # Errors
    /// When storage fails or the chunk does not decode.
    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError>;
    /// Makes the installed state current and durable.
    ///
    /// # Errors
    /// When storage fails or the last chunk is missing.
    fn finish_install(&mut self) -> Result<(), MachineError>;
    /// Ends the install and deletes the received rows. The machine serves nothing until the next install finishes or the
    /// machine opens again.
    ///
    /// # Errors
    /// When storage fails.
    fn abort_install(&mut self) -> Result<(), MachineError>;
}
