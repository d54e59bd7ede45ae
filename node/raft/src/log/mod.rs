//! The durable log and vote of all groups of a node.
//!
//! `LogDisk` is the seam: `rocks` writes it to RocksDB with synced writes, a simulation models it with lost tails, and a
//! segment log can take its place. `store` is openraft's view of one replica's part, with recent entries in memory.

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
    /// The replica exists on this node; its first record. The partition is what is cleared away when it is removed.
    Created(PartitionId),
    /// Replaces the vote.
    Vote(Vote),
    /// Appends encoded entries: (index, bytes), consecutive.
    Append(Vec<(u64, Bytes)>),
    /// Removes all entries from this index on.
    Truncate(u64),
    /// Removes all entries up to and including this one.
    Purge(LogId),
    /// The replica never runs again; what it has stays until the tombstone.
    Fenced(FenceMark),
    /// Tombstone: the replica was removed and never comes back; everything else of it goes.
    Deleted,
}

/// Called once, when the write is on stable storage or has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What is left of a replica's log at open.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last synced vote.
    pub vote: Option<Vote>,
    /// Everything up to here was purged.
    pub purged: Option<LogId>,
    /// What follows, consecutive.
    pub entries: Vec<(u64, Bytes)>,
}

/// Why a replica never runs again: it has applied the same entries to another end than a majority of its group's voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceMark {
    /// What is cleared away when it is removed.
    pub partition: PartitionId,
    /// Up to here the entries were the same.
    pub index: u64,
    /// The digest that this replica had there.
    pub digest: Digest,
    /// The digest that the majority had there.
    pub majority: Digest,
}

/// Whether a replica may exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Created and not removed; its partition.
    Live(PartitionId),
    /// Not removed yet, and never opened again.
    Fenced(FenceMark),
    /// Removed for ever.
    Deleted,
}

/// The log disk of a node.
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
    /// All replicas that ever lived here.
    ///
    /// # Errors
    /// When the disk fails.
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>>;
}

/// Submits a write and waits until it is synced.
///
/// # Errors
/// What the disk says; `BrokenPipe` when its writer is gone.
pub async fn write_synced(disk: &dyn LogDisk, key: LogKey, op: LogOp) -> io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    disk.submit(key, op, Box::new(move |r| drop(tx.send(r)))).await;
    rx.await.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the log writer is gone"))?
}
