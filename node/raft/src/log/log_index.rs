//! [`LogIndex`]: the part of a replica's log in memory: the log id and size of every entry, the payloads of recent
//! entries, and the vote.
//!
//! Payloads leave the memory only after the disk has synced them. Reads of older entries go to the disk, and an entry
//! whose write is still queued would be found nowhere.

use super::{EntryInfo, LogKey, ReadError, Recovered};
use crate::types::{Entry, LogId, Vote};
use std::collections::VecDeque;

/// Encoded size of the payloads that stay in memory, without the payloads that are not synced yet.
///
/// The unsynced payloads come on top. Their bound on a leader is the proposer's: eight entries in flight, each at most
/// 1 MiB or a single append (`taffrail_storage::store::replica`). On a follower the bound is one append request, because the
/// leader sends the next request after the answer, and the answer follows the sync. The queue of openraft's API
/// (`api_channel_size`) holds only further proposals of nodes, such as catalogue commands and memberships.
pub(super) const CACHE_BYTES_MAX: usize = 8 << 20;

/// Number of truncations and purges of a log. A read from disk is valid only if neither number changed meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    truncations: u64,
    purges: u64,
}

/// Answer of the memory to a read.
pub(super) enum Lookup {
    /// The entries, all from memory. Empty if the log does not contain the first entry of the range.
    Cached(Vec<Entry>),
    /// The first entry is on disk only, as are all entries before `to`.
    OnDisk {
        /// End of the range to read from disk.
        to: u64,
        /// Version of the log at the lookup.
        version: Version,
    },
}

/// Ids of all entries and payloads of recent entries of a replica's log.
#[derive(Default)]
pub(super) struct LogIndex {
    pub(super) vote: Option<Vote>,
    purged: Option<LogId>,
    /// Index of `entries[0]`: the index after `purged`.
    first: u64,
    entries: VecDeque<EntryInfo>,
    /// The last entries with their payloads; all earlier entries are on disk only.
    payloads: VecDeque<Entry>,
    /// Encoded size of `payloads`.
    cached_bytes: usize,
    /// Encoded size of all entries.
    total_bytes: u64,
    /// Encoded size of all entries that this process has recovered or appended.
    grown_bytes: u64,
    /// Index after the last synced entry.
    synced: u64,
    version: Version,
}

impl LogIndex {
    /// Begins with the recovered log: all entries are synced, and no payload is in memory.
    pub(super) fn new(recovered: Recovered) -> Self {
        let Recovered { vote, purged, entries } = recovered;
        let mut this = Self { vote, purged, first: purged.map_or(0, |p| p.index + 1), ..Self::default() };
        this.entries = entries.into();
        this.total_bytes = this.entries.iter().map(|e| e.bytes as u64).sum();
        this.grown_bytes = this.total_bytes;
        this.synced = this.end();
        this
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the index after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.back().map(|e| e.log_id).or(self.purged)
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn grown_bytes(&self) -> u64 {
        self.grown_bytes
    }

    /// Index of the first payload in memory, or the end of the log.
    fn first_cached(&self) -> u64 {
        self.end() - self.payloads.len() as u64
    }

    fn info(&self, index: u64) -> Option<&EntryInfo> {
        usize::try_from(index.checked_sub(self.first)?).ok().and_then(|i| self.entries.get(i))
    }

    /// Iterates over the entries from `from` on.
    pub(super) fn infos_from(&self, from: u64) -> impl DoubleEndedIterator<Item = &EntryInfo> {
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.entries.range(skipped.min(self.entries.len())..)
    }

    /// Adds an entry whose write is about to be submitted.
    pub(super) fn push(&mut self, entry: Entry, bytes: usize) {
        self.entries.push_back(EntryInfo { log_id: entry.log_id, bytes });
        self.payloads.push_back(entry);
        self.cached_bytes += bytes;
        self.total_bytes += bytes as u64;
        self.grown_bytes += bytes as u64;
        self.evict();
    }

    /// Records that the disk has synced all entries before `end` that were in the log at `version`.
    ///
    /// After a truncation the indexes of a late sync may belong to other entries, so such a sync is ignored.
    pub(super) fn set_synced(&mut self, end: u64, version: Version) {
        if version.truncations == self.version.truncations {
            self.synced = self.synced.max(end.min(self.end()));
            self.evict();
        }
    }

    /// Drops payloads beyond the bound, oldest first: only synced payloads, and never the payload of the last entry.
    fn evict(&mut self) {
        while self.cached_bytes > CACHE_BYTES_MAX && self.payloads.len() > 1 && self.first_cached() < self.synced {
            let bytes = self.info(self.first_cached()).map_or(0, |e| e.bytes);
            self.payloads.pop_front();
            self.cached_bytes -= bytes;
        }
    }

    /// Removes all entries from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.end() > from {
            let Some(removed) = self.entries.pop_back() else { break };
            if self.payloads.pop_back().is_some() {
                self.cached_bytes -= removed.bytes;
            }
            self.total_bytes -= removed.bytes as u64;
        }
        self.synced = self.synced.min(from);
        self.version.truncations += 1;
    }

    /// Removes all entries up to and including `upto`, which may be beyond the last entry.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.first <= upto.index {
            let all_cached = self.payloads.len() == self.entries.len();
            let Some(removed) = self.entries.pop_front() else { break };
            if all_cached && self.payloads.pop_front().is_some() {
                self.cached_bytes -= removed.bytes;
            }
            self.total_bytes -= removed.bytes as u64;
            self.first += 1;
        }
        self.first = upto.index + 1;
        self.synced = self.synced.max(self.first);
        self.purged = Some(upto);
        self.version.purges += 1;
    }

    /// Looks up consecutive entries of `from..to` within `bytes_max`, but at least the first.
    pub(super) fn lookup(&self, from: u64, to: u64, bytes_max: usize) -> Lookup {
        let to = to.min(self.end());
        if from < self.first || from >= to {
            return Lookup::Cached(Vec::new());
        }
        let cached = self.first_cached();
        if from < cached {
            return Lookup::OnDisk { to: to.min(cached), version: self.version };
        }
        let skipped = usize::try_from(from - cached).unwrap_or(usize::MAX);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for ((index, entry), info) in (from..to).zip(self.payloads.range(skipped..)).zip(self.infos_from(from)) {
            debug_assert_eq!(info.log_id.index, index, "ids and payloads are in step");
            bytes += info.bytes;
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            out.push(entry.clone());
        }
        Lookup::Cached(out)
    }

    /// Checks that the entries read from disk are the entries of the log from `from` on. The caller has
    /// checked the [`version`](Self::version).
    pub(super) fn check(&self, key: LogKey, from: u64, read: &[Entry]) -> Result<(), ReadError> {
        if read.is_empty() {
            return Err(ReadError::Missing { key, index: from });
        }
        for (index, entry) in (from..).zip(read) {
            match self.info(index) {
                Some(info) if info.log_id == entry.log_id => {}
                expected => {
                    let (found, expected) = (entry.log_id, expected.map(|e| e.log_id));
                    return Err(ReadError::Other { key, index, found, expected });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
