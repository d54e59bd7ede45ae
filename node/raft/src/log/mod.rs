//! The durable log and vote of all groups of a node.
//!
//! [`LogDisk`] is the port to stable storage: [`RocksdbLog`](rocksdb_log::RocksdbLog) writes to RocksDB with synced
//! writes, and the simulator models a disk with loss of unsynced writes. [`LogStorage`](log_storage::LogStorage) is
//! openraft's view of a single replica's log, with recent entries in memory (`log_index`). [`floor`] guards a log against
//! the loss of synced writes.

pub mod floor;
mod log_index;
pub mod log_storage;
pub mod rocksdb_log;

use super::{
    codec::{self, CodecError},
    types::{LogId, Vote},
};
use bytes::Bytes;
use floor::Floor;
use rocksdb_log::OnFatal;
use std::io;
use taffrail_core::ids::{Digest, GroupId, PartitionId, ReplicaId};
use taffrail_runtime::planted_defect::is_planted;

/// Identifies the log of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// Group of the replica.
    pub group: GroupId,
    /// Id of the replica.
    pub replica: ReplicaId,
}

/// A write to the log. Writes are carried out in the order of submission, each completely or not at all.
#[derive(Clone, Debug)]
pub enum LogOp {
    /// Creates the log of a replica. The named partition is deleted when the replica is removed.
    Created(PartitionId),
    /// Replaces the vote.
    Vote(Vote),
    /// Appends encoded entries: (index, bytes), consecutive.
    Append(Vec<(u64, Bytes)>),
    /// Removes all entries from this index onwards.
    Truncate(u64),
    /// Removes all entries up to and including this log id.
    Purge(LogId),
    /// Fences the replica: the replica never runs again, and its data stays until the replica is removed.
    Fenced(FenceMark),
    /// Writes the tombstone of a removed replica, and deletes the vote and the entries.
    Deleted(Tombstone),
}

/// Callback of a write; called once, when the write is on stable storage or has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Reports a failed batch of writes: to `on_fatal`, which ends the node, then to the caller of each write. The disk must not
/// carry out any later write, because the failed writes are missing before it.
pub fn fail(done: Vec<Done>, error: &io::Error, on_fatal: &OnFatal) {
    if is_planted("swallowed-sync-error") {
        return done.into_iter().for_each(|done| done(Ok(())));
    }
    on_fatal(error);
    for done in done {
        done(Err(io::Error::new(error.kind(), error.to_string())));
    }
}

/// Log id and encoded size of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    /// Log id of the entry.
    pub log_id: LogId,
    /// Encoded size of the entry, bytes.
    pub bytes: usize,
}

impl EntryInfo {
    /// Reads the log id of an encoded entry.
    ///
    /// # Errors
    /// When the entry does not decode.
    pub fn of(encoded: &Bytes) -> Result<Self, CodecError> {
        Ok(Self { log_id: codec::entry_log_id(encoded.clone())?, bytes: encoded.len() })
    }
}

/// The log of a replica as read back at open. Payloads stay on disk, because a log may be larger than the memory.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last synced vote.
    pub vote: Option<Vote>,
    /// The last purged log id.
    pub purged: Option<LogId>,
    /// The entries after `purged`, consecutive.
    pub entries: Vec<EntryInfo>,
}

/// Failure to read an entry that is in the log. The log on disk is damaged, so the replica must stop.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The entry was synced, and the disk does not have the entry.
    #[error("log of group {}, replica {}: entry {index} is missing on disk", .key.group, .key.replica)]
    Missing {
        /// Log of the entry.
        key: LogKey,
        /// Index of the missing entry.
        index: u64,
    },
    /// The disk has another entry at this index.
    #[error(
        "log of group {}, replica {}: the entry on disk at {index} has the log id {found}, expected {expected:?}",
        .key.group,
        .key.replica
    )]
    Other {
        /// Log of the entry.
        key: LogKey,
        /// Index of the expected entry.
        index: u64,
        /// Log id on disk.
        found: LogId,
        /// Log id that was written; `None` beyond the end of the log.
        expected: Option<LogId>,
    },
}

impl From<ReadError> for io::Error {
    fn from(e: ReadError) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}

/// Proof of a divergence: the replica reached a different state than the majority of the group's voters after applying
/// the same entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceMark {
    /// Partition to delete when the replica is removed.
    pub partition: PartitionId,
    /// Last index of the common entries.
    pub index: u64,
    /// Digest of this replica at `index`.
    pub digest: Digest,
    /// Digest of the majority at `index`.
    pub majority: Digest,
}

/// Record of a removed replica. The record is synced before the rows of the replica are deleted, and written again as
/// cleared after the deletion is flushed, so a crash in between leaves a record of the remaining work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Partition of the state database that holds the rows of the replica.
    pub partition: PartitionId,
    /// True once no row of the replica is left.
    pub cleared: bool,
}

/// State of a replica as recorded in the node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Created and not removed, with the replica's partition.
    Live(PartitionId),
    /// Fenced: not removed yet, and never opened again.
    Fenced(FenceMark),
    /// Removed for good; the replica id is never used again.
    Deleted(Tombstone),
}

/// Stable storage for the log of all groups of a node.
///
/// [`LogStorage`](log_storage::LogStorage) and the node submit writes. An implementation must follow these rules:
///
/// - Carry out writes in the order of submission.
/// - Call `done` only after the write is on stable storage or has failed.
/// - Never retry a failed write: report the failure, so that the node ends.
/// - Answer a read of a synced entry with this entry. A missing entry is damage, which the caller reports.
#[async_trait::async_trait]
pub trait LogDisk: Send + Sync + 'static {
    /// Queues a write. Waits only while the queue is full; `done` is called after the sync.
    async fn submit(&self, key: LogKey, op: LogOp, done: Done);
    /// Reads the entries `from..to`, as many as fit into `bytes_max` but at least the first.
    ///
    /// # Errors
    /// When the disk fails.
    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>>;
    /// Reads back vote, purged log id and the ids of all entries of a replica when the replica opens. Holds no more than
    /// one payload in memory at a time.
    ///
    /// # Errors
    /// When the disk fails or a record does not decode.
    async fn recover(&self, key: LogKey) -> io::Result<Recovered>;
    /// Returns all replicas in the history of this node, including removed replicas.
    ///
    /// # Errors
    /// When the disk fails.
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>>;
    /// Returns the place of the last synced write of all groups together. Every write of any kind raises the place, also
    /// a truncation or a purge, so the place never falls as long as the disk loses no synced write.
    fn floor(&self) -> Floor;
}

/// Submits a write and waits for the sync.
///
/// # Errors
/// Returns the error of the disk, or `BrokenPipe` when the writer has ended.
pub async fn write_synced(disk: &dyn LogDisk, key: LogKey, op: LogOp) -> io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    disk.submit(key, op, Box::new(move |r| drop(tx.send(r)))).await;
    rx.await
        .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the log cannot be written: its writer has ended"))?
}
