//! The durable log and vote of all groups of a node.
//!
//! [`LogDisk`] is the port to stable storage: [`RocksdbLog`](rocksdb_log::RocksdbLog) writes to RocksDB with synced
//! writes, and the simulator models a disk with loss of unsynced writes. [`LogStorage`](log_storage::LogStorage) is
//! openraft's view of a single replica's log, with recent entries in memory.

pub mod log_storage;
pub mod rocksdb_log;

use super::types::{LogId, Vote};
use bytes::Bytes;
use std::io;
use taffrail_core::ids::{Digest, GroupId, PartitionId, ReplicaId};

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
    Deleted,
}

/// Callback of a write; called once, when the write is on stable storage or has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The log of a replica as read back at open.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last synced vote.
    pub vote: Option<Vote>,
    /// The last purged log id.
    pub purged: Option<LogId>,
    /// The entries after `purged`: index and bytes, consecutive.
    pub entries: Vec<(u64, Bytes)>,
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

/// State of a replica as recorded in the node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Created and not removed, with the replica's partition.
    Live(PartitionId),
    /// Fenced: not removed yet, and never opened again.
    Fenced(FenceMark),
    /// Removed for good; the replica id is never used again.
    Deleted,
}

/// Stable storage for the log of all groups of a node.
///
/// [`LogStorage`](log_storage::LogStorage) and the node submit writes. An implementation
/// - carries out writes in the order of submission,
/// - calls `done` only after the write is on stable storage or has failed,
/// - never retries a failed write: the implementation reports the failure, and the node ends.
#[async_trait::async_trait]
pub trait LogDisk: Send + Sync + 'static {
    /// Queues a write. Waits only while the queue is full; `done` is called after the sync.
    async fn submit(&self, key: LogKey, op: LogOp, done: Done);
    /// Reads the entries `from..to`, as many as fit into `bytes_max` but at least the first.
    ///
    /// # Errors
    /// When the disk fails.
    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>>;
    /// Reads back the log of a replica when the replica opens.
    ///
    /// # Errors
    /// When the disk fails or a record does not decode.
    async fn recover(&self, key: LogKey) -> io::Result<Recovered>;
    /// Returns all replicas in the history of this node, including removed replicas.
    ///
    /// # Errors
    /// When the disk fails.
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>>;
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
