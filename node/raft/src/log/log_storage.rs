//! [`LogStorage`]: openraft's view of a replica's log. The log ids of all entries and the payloads of recent
//! entries are in memory; older payloads are read from disk. An entry is reported as flushed only after the disk
//! has synced the entry.

use super::{
    LogDisk, LogKey, LogOp, ReadError,
    log_index::{LogIndex, Lookup, Version},
    write_synced,
};
use crate::{
    codec,
    types::{Entry, LogId, Payload, TypeConfig, Vote},
};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use prost::Message;
use std::{
    fmt, io,
    ops::{Bound, RangeBounds, RangeInclusive},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use taffrail_proto::storage as pb;

/// Payload bytes of a single read (an append request or an apply batch). A larger entry is read alone.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of a replica. Cheap to clone: all clones share the state.
#[derive(Clone)]
pub struct LogStorage {
    key: LogKey,
    disk: Arc<dyn LogDisk>,
    index: Arc<Mutex<LogIndex>>,
    /// True until consensus runs on the log.
    starting: Arc<AtomicBool>,
}

/// Sizes of a replica's log, in encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBytes {
    /// Size of all entries.
    pub total: u64,
    /// Size of the payloads in memory.
    pub cached: usize,
    /// Size of all entries recovered at open or appended since; never falls.
    pub grown: u64,
}

fn locked(index: &Mutex<LogIndex>) -> MutexGuard<'_, LogIndex> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStorage {
    /// Reads back the ids of the log of the replica `key` from `disk`. Payloads stay on disk until they are read.
    ///
    /// # Errors
    /// When the disk fails or an entry does not decode.
    pub async fn open(disk: Arc<dyn LogDisk>, key: LogKey) -> io::Result<Self> {
        let recovered = disk.recover(key).await?;
        let starting = Arc::new(AtomicBool::new(true));
        Ok(Self { key, disk, index: Arc::new(Mutex::new(LogIndex::new(recovered))), starting })
    }

    /// Notes that consensus runs on the log: reads of whole ranges have the payloads of commands from now on.
    pub(crate) fn started(&self) {
        self.starting.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, LogIndex> {
        locked(&self.index)
    }

    /// Returns the index of the first entry after the purged entries, and the index after the last entry.
    #[must_use]
    pub fn bounds(&self) -> (u64, u64) {
        let index = self.lock();
        (index.first(), index.end())
    }

    /// Returns the sizes of the log.
    #[must_use]
    pub fn bytes(&self) -> LogBytes {
        let index = self.lock();
        LogBytes { total: index.total_bytes(), cached: index.cached_bytes(), grown: index.grown_bytes() }
    }

    /// Returns the last index that a purge may remove so that at least `keep_bytes` of entries remain, or `None` when
    /// the whole log is smaller.
    #[must_use]
    pub fn purge_bound(&self, keep_bytes: u64) -> Option<u64> {
        let index = self.lock();
        if index.total_bytes() <= keep_bytes {
            return None;
        }
        let mut kept = 0;
        for info in index.infos_from(index.first()).rev() {
            if kept >= keep_bytes {
                return Some(info.log_id.index);
            }
            kept += info.bytes as u64;
        }
        None
    }

    /// Returns consecutive entries of `from..to` within `bytes_max`, but at least the first; nothing if the log does
    /// not contain `from`, because the entry is purged, truncated or not appended yet.
    async fn entries(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let found = self.lock().lookup(from, to, bytes_max);
            match found {
                Lookup::Cached(entries) => return Ok(entries),
                Lookup::OnDisk { to, version } => {
                    if let Some(entries) = self.read(from, to, bytes_max, version).await? {
                        return Ok(entries);
                    }
                }
            }
        }
    }

    /// Reads entries from disk. Returns `None` when a purge or a truncation has changed the log meanwhile: the bytes on
    /// disk then prove nothing, and the caller repeats the lookup.
    async fn read(&self, from: u64, to: u64, bytes_max: usize, version: Version) -> io::Result<Option<Vec<Entry>>> {
        let mut entries = Vec::new();
        for (_, bytes) in self.disk.read(self.key, from, to, bytes_max).await? {
            entries.push(decode(self.key, bytes)?);
        }
        let index = self.lock();
        if index.version() != version {
            return Ok(None);
        }
        index.check(self.key, from, &entries)?;
        Ok(Some(entries))
    }
}

fn decode(key: LogKey, bytes: Bytes) -> io::Result<Entry> {
    let fail = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("log of group {}: {why}", key.group));
    let entry = pb::Entry::decode(bytes).map_err(|e| fail(e.to_string()))?;
    codec::entry_from(entry).map_err(|e| fail(e.to_string()))
}

/// Replaces the payload of a command by a blank payload.
fn without_command(entry: Entry) -> Entry {
    match entry.payload {
        Payload::Normal(_) => Entry { payload: Payload::Blank, ..entry },
        Payload::Blank | Payload::Membership(_) => entry,
    }
}

/// Returns the first index of a range and the index after the last.
fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(i) => *i,
        Bound::Excluded(i) => i + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(i) => i + 1,
        Bound::Excluded(i) => *i,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStorage {
    /// Reads all entries of the range at once. openraft calls this function only while a replica starts, with ranges of
    /// 64 entries, in search of the last two memberships. Until `started` is called, a blank payload stands for each
    /// command, because 64 commands of the largest size do not fit into the memory of a small node.
    ///
    /// openraft would also apply entries of the range if the log kept the committed index. The log does not keep this index
    /// ([`read_committed`](RaftLogStorage::read_committed) of the default implementation).
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut from, to) = half_open(&range);
        let mut out = Vec::new();
        loop {
            let (first, end) = self.bounds();
            if from < first {
                // The part before is purged, and an answer without a gap starts after the purged part.
                from = first;
                out.clear();
            }
            if from >= to.min(end) {
                return Ok(out);
            }
            let part = self.entries(from, to, READ_BYTES_MAX).await?;
            from = part.last().map_or(from, |last| last.log_id.index + 1);
            if self.starting.load(Ordering::Relaxed) {
                out.extend(part.into_iter().map(without_command));
            } else {
                out.extend(part);
            }
        }
    }

    /// Reads committed entries for the state machine in pieces of at most 1 MiB: after a crash, the range
    /// spans everything since the last flush of the state, which may be larger than the memory.
    ///
    /// The stream pauses between two pieces, so that a consumer of ready entries gets no more than one piece at a time.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let (from, to) = half_open(&range);
        let pieces = stream::try_unfold((self.clone(), from), move |(log, next)| async move {
            if next >= to {
                return Ok::<_, io::Error>(None);
            }
            if next > from {
                tokio::task::yield_now().await;
            }
            let piece = log.entries(next, to, READ_BYTES_MAX).await?;
            let last = piece.last().ok_or(ReadError::Missing { key: log.key, index: next })?;
            let next = last.log_id.index + 1;
            Ok(Some((stream::iter(piece.into_iter().map(Ok::<_, io::Error>)), (log, next))))
        });
        pieces.try_flatten()
    }

    /// Reads entries for replication, which does not check the first index of the answer.
    ///
    /// If the start of the range or the whole range is purged meanwhile, the answer starts after `start`. The resulting
    /// append has a gap and is refused by `network`; the refusal ends the replication session, and the next session
    /// sends a snapshot. An empty answer instead would keep a session alive without progress.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        loop {
            let (first, after) = self.bounds();
            let (from, to) = if start < first { (first, end.max(first + 1)) } else { (start, end) };
            if start < first && first >= after {
                let why = format!("log of group {}: {start}..{end} is purged, and nothing follows", self.key.group);
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            let out = self.entries(from, to, READ_BYTES_MAX).await?;
            // Entries may have been purged after the bounds were read; the read is then repeated.
            if !out.is_empty() || self.bounds().0 <= from {
                return Ok(out);
            }
        }
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }

    /// Returns the last log id of each leader in the range, from memory. The default implementation reads payloads.
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> Result<Vec<LogId>, io::Error> {
        let index = self.lock();
        let mut out: Vec<LogId> = Vec::new();
        for info in index.infos_from(range.start().index).take_while(|e| e.log_id <= *range.end()) {
            match out.last_mut() {
                Some(last) if last.leader_id == info.log_id.leader_id => *last = info.log_id,
                _ => out.push(info.log_id),
            }
        }
        Ok(out)
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let index = self.lock();
        Ok(LogState { last_purged_log_id: index.purged(), last_log_id: index.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        write_synced(&*self.disk, self.key, LogOp::Vote(*vote)).await?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (encoded, end, version) = {
            let mut index = self.lock();
            let mut encoded = Vec::new();
            for entry in entries {
                let expected = index.end();
                if entry.log_id.index != expected {
                    let why = format!(
                        "append to the log of group {}: entry {} was given where {expected} must follow",
                        self.key.group, entry.log_id.index
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                let bytes = Bytes::from(codec::entry_to(&entry).encode_to_vec());
                encoded.push((entry.log_id.index, bytes.clone()));
                index.push(entry, bytes.len());
            }
            (encoded, index.end(), index.version())
        };
        let index = Arc::clone(&self.index);
        let done = move |result: io::Result<()>| {
            if result.is_ok() {
                locked(&index).set_synced(end, version);
            }
            callback.io_completed(result);
        };
        self.disk.submit(self.key, LogOp::Append(encoded), Box::new(done)).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |l| l.index + 1);
        let version = {
            let mut index = self.lock();
            index.truncate(from);
            index.version()
        };
        write_synced(&*self.disk, self.key, LogOp::Truncate(from)).await?;
        // Writes are carried out in order, so the appends before the truncation are synced as well.
        self.lock().set_synced(from, version);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.lock().purge(upto);
        write_synced(&*self.disk, self.key, LogOp::Purge(upto)).await
    }
}

/// Returns the payload size of an entry in bytes, for callers with a bound on batches.
#[must_use]
pub fn payload_len(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(command) => command.0.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

#[cfg(test)]
mod tests;
