//! The durable log and vote of all groups of a node.
//!
//! [`LogDisk`] is the port to stable storage: [`RocksdbLog`](rocksdb_log::RocksdbLog) writes to RocksDB with synced
//! writes, the simulator models a disk that loses unsynced writes. [`LogStorage`](log_storage::LogStorage) is
//! openraft's view of the log of one replica, with recent entries in memory.

pub mod log_storage;
pub mod rocksdb_log;

use super::types::{LogId, Vote};
use bytes::Bytes;
use std::io;
use taffrail_core::ids::{Digest, GroupId, PartitionId, ReplicaId};

/// One replica of one group: the owner of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
}

/// One write. Writes are carried out in the order of submission, each completely or not at all.
#[derive(Clone, Debug)]
pub enum LogOp {
    /// The first record of a replica. Its partition is deleted when the replica is removed.
    Created(PartitionId),
    /// Replaces the vote.
    Vote(Vote),
    /// Appends encoded entries: (index, bytes), consecutive.
    Append(Vec<(u64, Bytes)>),
    /// Removes all entries from this index on.
    Truncate(u64),
    /// Removes all entries up to and including this one.
    Purge(LogId),
    /// The replica never runs again; its data stays until the tombstone.
    Fenced(FenceMark),
    /// Tombstone: the replica was removed for good; its vote and entries are deleted.
    Deleted,
}

/// Called once, when the write is on stable storage or has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The log of one replica as read back at open.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last synced vote.
    pub vote: Option<Vote>,
    /// The last purged log id.
    pub purged: Option<LogId>,
    /// The entries after `purged`: index and bytes, consecutive.
    pub entries: Vec<(u64, Bytes)>,
}

/// Proof of a divergence: the replica reached a different state than the majority of its group's voters after applying
/// the same entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceMark {
    /// The partition to delete when the replica is removed.
    pub partition: PartitionId,
    /// The index up to which the entries were the same.
    pub index: u64,
    /// The digest of this replica at `index`.
    pub digest: Digest,
    /// The digest of the majority at `index`.
    pub majority: Digest,
}

/// State of a replica in the log of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Created and not removed; its partition.
    Live(PartitionId),
    /// Fenced: not removed yet, and never opened again.
    Fenced(FenceMark),
    /// Removed for good; its id is never used again.
    Deleted,
}

/// Stable storage for the log of all groups of a node.
///
/// [`LogStorage`](log_storage::LogStorage) and the node submit writes; an implementation carries them out in the order
/// of submission and calls `done` only after the write is on stable storage, or has failed. A write that has failed is
/// never retried: the implementation reports it, and the node ends.
#[async_trait::async_trait]
pub trait LogDisk: Send + Sync + 'static {
    /// Queues a write; waits only while the queue is full. `done` is called after the sync.
    async fn submit(&self, key: LogKey, op: LogOp, done: Done);
    /// Entries `from..to`, as many as fit into `bytes_max` but at least one.
    ///
    /// # Errors
    /// When the disk fails.
    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>>;
    /// Reads back a replica's log.
    ///
    /// # Errors
    /// When the disk fails or a record does not decode.
    async fn recover(&self, key: LogKey) -> io::Result<Recovered>;
    /// All replicas that this node has ever had, removed ones included.
    ///
    /// # Errors
    /// When the disk fails.
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>>;
}

/// Submits a write and waits until it is synced.
///
/// # Errors
/// The error of the disk; `BrokenPipe` when the writer has ended.
pub async fn write_synced(disk: &dyn LogDisk, key: LogKey, op: LogOp) -> io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    disk.submit(key, op, Box::new(move |r| drop(tx.send(r)))).await;
    rx.await
        .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the log cannot be written: its writer has ended"))?
}
