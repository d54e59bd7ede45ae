//! [`RocksdbLog`]: stores the logs of all groups in a RocksDB database with the write-ahead log on. A writer thread
//! combines all queued writes into a batch and syncs each batch. A failed sync is never retried: the failure is
//! reported, and the process must end. A database that ends before its [`Floor`] is refused.
//!
//! Keys (big-endian): kind, group u64, replica u64 [, index u64]. The private enum `Kind` lists the kinds.

use super::{
    Done, EntryInfo, FenceMark, LogDisk, LogKey, LogOp, Recovered, ReplicaState, Tombstone,
    floor::{Floor, FloorError, FloorFile, FloorWriter},
};
use crate::{codec, types::LogId};
use bytes::Bytes;
use prost::Message;
use rocksdb::{DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch, WriteOptions};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use taffrail_core::ids::{Digest, GroupId, PartitionId, ReplicaId};
use taffrail_proto::storage as pb;
use taffrail_runtime::{self as rt, failpoint};
use tokio::sync::mpsc;

/// Size at which a batch is written, although more writes are queued.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Maximum number of queued writes.
const QUEUE_MAX: usize = 16_384;
/// Read-ahead of a scan over a whole log.
const SCAN_READAHEAD_BYTES: usize = 2 << 20;

/// First byte of every key.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Entry = b'e',
    Purged = b'p',
    Replica = b'r',
    Vote = b'v',
}

/// Value of a live replica: this byte and the partition.
const LIVE: u8 = 1;
/// Value of a removed replica: this byte, [`TOMBSTONE_FORMAT`], the partition, and 1 if the rows are cleared, else 0. A
/// later version may append fields; a change of the present fields needs another format number.
const DELETED: u8 = 2;
const TOMBSTONE_FORMAT: u8 = 1;
/// Value of a fenced replica: this byte, the partition, the index, the digest of the replica and the digest of the
/// majority. A later version may append fields.
const FENCED: u8 = 3;

fn key(kind: Kind, of: LogKey) -> [u8; 17] {
    let mut k = [0; 17];
    k[0] = kind as u8;
    k[1..9].copy_from_slice(&of.group.get().to_be_bytes());
    k[9..].copy_from_slice(&of.replica.get().to_be_bytes());
    k
}

fn entry_key(of: LogKey, index: u64) -> [u8; 25] {
    let mut k = [0; 25];
    k[..17].copy_from_slice(&key(Kind::Entry, of));
    k[17..].copy_from_slice(&index.to_be_bytes());
    k
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    let part = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    part.map(u64::from_be_bytes).ok_or_else(|| corrupt("key", "too short"))
}

fn corrupt(what: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log database, {what}: {why}"))
}

fn failed(e: rocksdb::Error) -> io::Error {
    io::Error::other(format!("log database: {e}"))
}

enum Queued {
    Write(LogKey, LogOp, Done),
    /// The end of the queue: later writes are not carried out.
    End,
}

/// Callback of a failed write; the node reports the error and ends.
pub type OnFatal = Arc<dyn Fn(&io::Error) + Send + Sync>;
/// Called after each sync with the duration of batch and sync in seconds.
pub type OnSync = Arc<dyn Fn(f64) + Send + Sync>;

/// A [`LogDisk`] in RocksDB with a dedicated writer thread.
pub struct RocksdbLog {
    db: Arc<DB>,
    queue: mpsc::Sender<Queued>,
    /// Number of the last synced write.
    synced: Arc<AtomicU64>,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl RocksdbLog {
    /// Opens or creates the database in `path` and starts the writer thread.
    ///
    /// # Errors
    /// When RocksDB cannot open the database or the operating system refuses a thread; with a
    /// [`FloorError`] when synced writes are missing.
    pub fn open(path: &Path, on_fatal: OnFatal, on_sync: OnSync) -> io::Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(64 << 20);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_max_total_wal_size(256 << 20);
        options.set_keep_log_file_num(4);
        let db = Arc::new(DB::open(&options, path).map_err(failed)?);
        // RocksDB's recovery writes the recovered records to a synced file, so all of them count as synced.
        let (file, end) = (FloorFile::open(path)?, end_of(&db));
        if end < file.floor() {
            return Err(FloorError::Below { end, floor: file.floor() }.into());
        }
        let floor = FloorWriter::start(file, end, Arc::clone(&on_fatal))?;
        let died = Arc::clone(&on_fatal);
        let (queue, rx) = mpsc::channel(QUEUE_MAX);
        let synced = Arc::new(AtomicU64::new(end.batch));
        let ends = Ends { synced: Arc::clone(&synced), floor };
        let writer_db = Arc::clone(&db);
        let work = move || write_loop(&writer_db, rx, &ends, &on_fatal, &on_sync);
        let writer = rt::thread("log-writer", or_fatal("the log writer", &died, work))?;
        Ok(Self { db, queue, synced, writer: std::sync::Mutex::new(Some(writer)) })
    }

    /// Carries out all writes submitted before, ends the writer thread and waits for the end. Later writes are refused.
    ///
    /// The node calls this function before the process ends, outside of async code: RocksDB's own statics must outlive
    /// every thread with RocksDB calls.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        // The send fails only when the writer has ended already.
        drop(self.queue.blocking_send(Queued::End));
        // A panic of the writer was reported as a failed write.
        drop(writer.join());
    }
}

/// Returns the work of a writer thread whose panic counts as a failed write: the node must not go on without the thread.
pub(super) fn or_fatal(
    writer: &'static str,
    on_fatal: &OnFatal,
    work: impl FnOnce() + Send + 'static,
) -> impl FnOnce() + Send + 'static {
    let on_fatal = Arc::clone(on_fatal);
    move || {
        if let Err(panic) = rt::catch(work) {
            on_fatal(&io::Error::other(format!("{writer} panicked: {panic}")));
        }
    }
}

/// Returns the place of the last write: RocksDB numbers all writes, and the numbers never fall.
fn end_of(db: &DB) -> Floor {
    Floor { segment: 0, batch: db.latest_sequence_number() }
}

/// Receivers of the synced end of the log.
struct Ends {
    synced: Arc<AtomicU64>,
    floor: FloorWriter,
}

impl Ends {
    /// Records a synced end.
    fn raise(&self, to: Floor) {
        self.synced.store(to.batch, Ordering::Release);
        self.floor.raise(to);
    }
}

fn write_loop(db: &DB, mut rx: mpsc::Receiver<Queued>, ends: &Ends, on_fatal: &OnFatal, on_sync: &OnSync) {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    let mut last = false;
    while !last && let Some(first) = rx.blocking_recv() {
        let (mut batch, mut done) = (WriteBatch::default(), Vec::new());
        let mut next = Some(first);
        while let Some(queued) = next.take() {
            let Queued::Write(key, op, callback) = queued else {
                last = true;
                break;
            };
            stage(&mut batch, key, op);
            done.push(callback);
            if batch.size_in_bytes() < BATCH_BYTES_MAX {
                next = rx.try_recv().ok();
            }
        }
        if done.is_empty() {
            continue;
        }
        failpoint::panic_at("log-writer");
        let start = tokio::time::Instant::now();
        match db.write_opt(batch, &synced) {
            Ok(()) => {
                on_sync(start.elapsed().as_secs_f64());
                ends.raise(end_of(db));
                done.into_iter().for_each(|d| d(Ok(())));
            }
            Err(e) => return super::fail(done, &failed(e), on_fatal),
        }
    }
}

fn stage(batch: &mut WriteBatch, of: LogKey, op: LogOp) {
    match op {
        LogOp::Created(partition) => {
            let mut value = vec![LIVE];
            value.extend_from_slice(&partition.get().to_be_bytes());
            batch.put(key(Kind::Replica, of), value);
        }
        LogOp::Vote(vote) => batch.put(key(Kind::Vote, of), codec::vote_to(&vote).encode_to_vec()),
        LogOp::Append(entries) => entries.iter().for_each(|(index, bytes)| batch.put(entry_key(of, *index), bytes)),
        LogOp::Truncate(from) => batch.delete_range(entry_key(of, from), entry_key(of, u64::MAX)),
        LogOp::Purge(id) => {
            batch.put(key(Kind::Purged, of), codec::log_id_to(&id).encode_to_vec());
            batch.delete_range(entry_key(of, 0), entry_key(of, id.index + 1));
        }
        LogOp::Fenced(mark) => batch.put(key(Kind::Replica, of), encode_mark(&mark)),
        LogOp::Deleted(tombstone) => {
            batch.put(key(Kind::Replica, of), encode_tombstone(tombstone));
            batch.delete(key(Kind::Vote, of));
            batch.delete(key(Kind::Purged, of));
            batch.delete_range(entry_key(of, 0), entry_key(of, u64::MAX));
        }
    }
}

fn encode_tombstone(tombstone: Tombstone) -> Vec<u8> {
    let mut value = vec![DELETED, TOMBSTONE_FORMAT];
    value.extend_from_slice(&tombstone.partition.get().to_be_bytes());
    value.push(tombstone.cleared.into());
    value
}

fn decode_tombstone(value: &[u8]) -> io::Result<Tombstone> {
    match value.get(1) {
        Some(&TOMBSTONE_FORMAT) => {}
        other => return Err(corrupt("tombstone", format!("unknown format {other:?}"))),
    }
    let partition = PartitionId::new(u64_at(value, 2)?);
    match value.get(10) {
        Some(0) => Ok(Tombstone { partition, cleared: false }),
        Some(1) => Ok(Tombstone { partition, cleared: true }),
        other => Err(corrupt("tombstone", format!("cleared is {other:?}, not 0 or 1"))),
    }
}

fn encode_mark(mark: &FenceMark) -> Vec<u8> {
    let mut value = vec![FENCED];
    value.extend_from_slice(&mark.partition.get().to_be_bytes());
    value.extend_from_slice(&mark.index.to_be_bytes());
    value.extend_from_slice(&mark.digest.0);
    value.extend_from_slice(&mark.majority.0);
    value
}

fn decode_mark(value: &[u8]) -> io::Result<FenceMark> {
    let digest_at = |at: usize| {
        let part = value.get(at..at + 32).and_then(|b| b.try_into().ok());
        part.map(Digest).ok_or_else(|| corrupt("fence mark", "too short"))
    };
    Ok(FenceMark {
        partition: PartitionId::new(u64_at(value, 1)?),
        index: u64_at(value, 9)?,
        digest: digest_at(17)?,
        majority: digest_at(49)?,
    })
}

fn entries(db: &DB, of: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(entry_key(of, to).to_vec());
    let start = entry_key(of, from);
    let (mut out, mut bytes) = (Vec::new(), 0);
    for row in db.iterator_opt(IteratorMode::From(&start, Direction::Forward), options) {
        let (k, v) = row.map_err(failed)?;
        bytes += v.len();
        if !out.is_empty() && bytes > bytes_max {
            break;
        }
        out.push((u64_at(&k, 17)?, Bytes::from(v.into_vec())));
    }
    Ok(out)
}

fn recover(db: &DB, of: LogKey) -> io::Result<Recovered> {
    let vote = match db.get(key(Kind::Vote, of)).map_err(failed)? {
        Some(v) => Some(codec::vote_from(&pb::Vote::decode(&*v).map_err(|e| corrupt("vote", e))?)),
        None => None,
    };
    let purged: Option<LogId> = match db.get(key(Kind::Purged, of)).map_err(failed)? {
        Some(v) => Some(codec::log_id_from(&pb::LogId::decode(&*v).map_err(|e| corrupt("purged", e))?)),
        None => None,
    };
    let entries = entry_infos(db, of, purged.map_or(0, |p| p.index + 1))?;
    Ok(Recovered { vote, purged, entries })
}

/// Reads the ids of all entries of a log, payload by payload, and checks that the entries follow one another
/// from `first` on.
fn entry_infos(db: &DB, of: LogKey, first: u64) -> io::Result<Vec<EntryInfo>> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(entry_key(of, u64::MAX).to_vec());
    options.fill_cache(false);
    options.set_readahead_size(SCAN_READAHEAD_BYTES);
    let start = entry_key(of, 0);
    let mut out = Vec::new();
    for (next, row) in (first..).zip(db.iterator_opt(IteratorMode::From(&start, Direction::Forward), options)) {
        let (k, v) = row.map_err(failed)?;
        let index = u64_at(&k, 17)?;
        let info = EntryInfo::of(&Bytes::from(v.into_vec())).map_err(|e| corrupt("entry", e))?;
        if index != next || info.log_id.index != next {
            let why = format!("group {}: entry {index} is stored where {next} must follow", of.group);
            return Err(corrupt("entries", why));
        }
        out.push(info);
    }
    Ok(out)
}

fn replicas(db: &DB) -> io::Result<Vec<(LogKey, ReplicaState)>> {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(vec![Kind::Replica as u8 + 1]);
    let mut out = Vec::new();
    for row in db.iterator_opt(IteratorMode::From(&[Kind::Replica as u8], Direction::Forward), options) {
        let (k, v) = row.map_err(failed)?;
        let key = LogKey { group: GroupId::new(u64_at(&k, 1)?), replica: ReplicaId::new(u64_at(&k, 9)?) };
        let state = match v.first() {
            Some(&LIVE) => ReplicaState::Live(PartitionId::new(u64_at(&v, 1)?)),
            Some(&DELETED) => ReplicaState::Deleted(decode_tombstone(&v)?),
            Some(&FENCED) => ReplicaState::Fenced(decode_mark(&v)?),
            other => return Err(corrupt("replica", format!("unknown state {other:?}"))),
        };
        out.push((key, state));
    }
    Ok(out)
}

#[async_trait::async_trait]
impl LogDisk for RocksdbLog {
    async fn submit(&self, key: LogKey, op: LogOp, done: Done) {
        if let Err(mpsc::error::SendError(Queued::Write(_, _, done))) =
            self.queue.send(Queued::Write(key, op, done)).await
        {
            done(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the log cannot be written: its writer has ended")));
        }
    }
    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        let db = Arc::clone(&self.db);
        rt::blocking(move || entries(&db, key, from, to, bytes_max)).await.map_err(io::Error::other)?
    }
    async fn recover(&self, key: LogKey) -> io::Result<Recovered> {
        let db = Arc::clone(&self.db);
        rt::blocking(move || recover(&db, key)).await.map_err(io::Error::other)?
    }
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        let db = Arc::clone(&self.db);
        rt::blocking(move || replicas(&db)).await.map_err(io::Error::other)?
    }
    fn floor(&self) -> Floor {
        Floor { segment: 0, batch: self.synced.load(Ordering::Acquire) }
    }
}

#[cfg(test)]
mod tests;
