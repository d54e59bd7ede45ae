//! [`LogStorage`]: openraft's view of a replica's log. The log ids of all entries and the payloads of recent
//! entries are in memory; older payloads are read from disk. An entry is reported as flushed only after the disk
//! has synced the entry.

use super::{LogDisk, LogKey, LogOp, Recovered, write_synced};
use crate::{
    codec,
    types::{Entry, LogId, Payload, TypeConfig, Vote},
};
use bytes::Bytes;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use prost::Message;
use std::{
    collections::VecDeque,
    fmt, io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_proto::storage as pb;

/// Payload bytes of a replica in memory; older entries are read from disk.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// Payload bytes of a single read (an append request or an apply batch). A larger entry is read alone.
const READ_BYTES_MAX: usize = 1 << 20;

/// A log entry: the log id always, the payload only while the entry is recent.
struct Slot {
    log_id: LogId,
    bytes: usize,
    entry: Option<Entry>,
}

#[derive(Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// Index of `slots[0]`: the index after `purged`.
    first: u64,
    slots: VecDeque<Slot>,
    cached_bytes: usize,
    /// `slots[..cold]` have no payload in memory.
    cold: usize,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }
    fn slot(&self, index: u64) -> Option<&Slot> {
        usize::try_from(index.checked_sub(self.first)?).ok().and_then(|i| self.slots.get(i))
    }
    fn push(&mut self, entry: Entry, bytes: usize) {
        self.slots.push_back(Slot { log_id: entry.log_id, bytes, entry: Some(entry) });
        self.cached_bytes += bytes;
        while self.cached_bytes > CACHE_BYTES_MAX && self.cold + 1 < self.slots.len() {
            let slot = &mut self.slots[self.cold];
            slot.entry = None;
            self.cached_bytes -= slot.bytes;
            self.cold += 1;
        }
    }
    fn truncate(&mut self, from: u64) {
        while self.end() > from {
            let Some(slot) = self.slots.pop_back() else { break };
            if slot.entry.is_some() {
                self.cached_bytes -= slot.bytes;
            }
        }
        self.cold = self.cold.min(self.slots.len());
    }
    fn purge(&mut self, upto: LogId) {
        while self.first <= upto.index {
            let Some(slot) = self.slots.pop_front() else { break };
            if slot.entry.is_some() {
                self.cached_bytes -= slot.bytes;
            }
            self.cold = self.cold.saturating_sub(1);
            self.first += 1;
        }
        self.first = upto.index + 1;
        self.purged = Some(upto);
    }
    fn last(&self) -> Option<LogId> {
        self.slots.back().map(|s| s.log_id).or(self.purged)
    }
}

/// The log of a replica. Cheap to clone: all clones share the state.
#[derive(Clone)]
pub struct LogStorage {
    key: LogKey,
    disk: Arc<dyn LogDisk>,
    state: Arc<Mutex<State>>,
}

impl LogStorage {
    /// Reads back the log of the replica `key` from `disk`.
    ///
    /// # Errors
    /// When the disk fails or an entry does not decode.
    pub async fn open(disk: Arc<dyn LogDisk>, key: LogKey) -> io::Result<Self> {
        let Recovered { vote, purged, entries } = disk.recover(key).await?;
        let mut state = State { vote, purged, first: purged.map_or(0, |p| p.index + 1), ..State::default() };
        for (_, bytes) in entries {
            let size = bytes.len();
            state.push(decode(key, bytes)?, size);
        }
        Ok(Self { key, disk, state: Arc::new(Mutex::new(state)) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the index of the first entry after the purged entries, and the index after the last entry.
    #[must_use]
    pub fn bounds(&self) -> (u64, u64) {
        let state = self.lock();
        (state.first, state.end())
    }

    /// Returns consecutive entries of `from..to` within `bytes_max`, but at least the first; nothing if
    /// `from` is purged.
    async fn entries(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut out, missing) = {
            let state = self.lock();
            let to = to.min(state.end());
            if from < state.first || from >= to {
                return Ok(Vec::new());
            }
            let (mut out, mut bytes, mut missing) = (Vec::new(), 0, None);
            for index in from..to {
                let Some(slot) = state.slot(index) else { break };
                bytes += slot.bytes;
                if !out.is_empty() && bytes > bytes_max {
                    break;
                }
                let Some(entry) = &slot.entry else {
                    missing = Some((index, to));
                    break;
                };
                out.push(entry.clone());
            }
            (out, missing)
        };
        // The first payload is not in memory: return the entries on disk. The caller repeats the call for the rest.
        if let Some((index, to)) = missing
            && out.is_empty()
        {
            for (_, bytes) in self.disk.read(self.key, index, to, bytes_max).await? {
                out.push(decode(self.key, bytes)?);
            }
        }
        Ok(out)
    }
}

fn decode(key: LogKey, bytes: Bytes) -> io::Result<Entry> {
    let fail = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("log of group {}: {why}", key.group));
    let entry = pb::Entry::decode(bytes).map_err(|e| fail(e.to_string()))?;
    codec::entry_from(entry).map_err(|e| fail(e.to_string()))
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        let (first, end) = self.bounds();
        from = from.max(first);
        let to = to.min(end);
        let mut out = Vec::new();
        while from < to {
            let part = self.entries(from, to, usize::MAX).await?;
            let Some(last) = part.last() else { break };
            from = last.log_id.index + 1;
            out.extend(part);
        }
        Ok(out)
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
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last() })
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
        let encoded = {
            let mut state = self.lock();
            let mut encoded = Vec::new();
            for entry in entries {
                let expected = state.end();
                if entry.log_id.index != expected {
                    let why = format!(
                        "append to the log of group {}: entry {} was given where {expected} must follow",
                        self.key.group, entry.log_id.index
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                let bytes = Bytes::from(codec::entry_to(&entry).encode_to_vec());
                encoded.push((entry.log_id.index, bytes.clone()));
                state.push(entry, bytes.len());
            }
            encoded
        };
        self.disk.submit(self.key, LogOp::Append(encoded), Box::new(move |r| callback.io_completed(r))).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |l| l.index + 1);
        self.lock().truncate(from);
        write_synced(&*self.disk, self.key, LogOp::Truncate(from)).await
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
mod tests {
    use super::*;
    use crate::{log::rocksdb_log::RocksdbLog, types::LeaderId};
    use taffrail_core::ids::{GroupId, PartitionId, ReplicaId};

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
    }

    #[tokio::test]
    async fn what_was_purged_is_answered_with_a_hole_or_an_error_and_never_with_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
        let key = LogKey { group: GroupId::new(7), replica: ReplicaId::new(1) };
        let bytes = |index| {
            let entry = Entry { log_id: id(index), payload: Payload::Blank };
            (index, Bytes::from(codec::entry_to(&entry).encode_to_vec()))
        };
        for op in [LogOp::Created(PartitionId::new(1)), LogOp::Append((0..=10).map(bytes).collect())] {
            write_synced(&*disk, key, op).await.unwrap();
        }
        let mut log = LogStorage::open(Arc::clone(&disk) as Arc<dyn LogDisk>, key).await.unwrap();
        log.purge(id(6)).await.unwrap();
        for (start, end, answer) in
            [(7, 9, vec![7, 8]), (3, 9, vec![7, 8]), (3, 7, vec![7]), (2, 5, vec![7]), (11, 12, vec![])]
        {
            let entries = log.limited_get_log_entries(start, end).await.unwrap();
            let indexes: Vec<u64> = entries.iter().map(|e| e.log_id.index).collect();
            assert_eq!(indexes, answer, "{start}..{end}");
            let before = start.checked_sub(1).map(id);
            let refused = codec::check_consecutive(before.as_ref(), &entries).is_err();
            assert_eq!(refused, start < 7, "an append with a gap is refused before it is sent");
        }
        log.purge(id(10)).await.unwrap();
        assert_eq!(log.limited_get_log_entries(3, 5).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
