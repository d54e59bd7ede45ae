//! [`LogDamage`]: entries of synced logs that can no longer be read, and periods in which reads of the logs fail.

use crate::lock::lock;
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use taffrail_core::ids::GroupId;
use taffrail_raft::log::{LogKey, LogOp};
use tokio::time::Instant;

/// Damage of the logs on a disk. The system group is spared: a node without its system replica is a lost node, and lost disks are
/// a fault of their own.
#[derive(Default)]
pub struct LogDamage {
    entries: Mutex<BTreeSet<(LogKey, u64)>>,
    fails_until: Mutex<Option<Instant>>,
    met: AtomicBool,
}

impl LogDamage {
    /// Damages an entry for good. A log with the entry cannot be opened.
    pub fn damage(&self, key: LogKey, index: u64) {
        lock(&self.entries).insert((key, index));
    }

    /// Lets every read fail until this time.
    pub fn fail_until(&self, until: Instant) {
        *lock(&self.fails_until) = Some(until);
    }

    /// True while a log has a damaged entry.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !lock(&self.entries).is_empty()
    }

    /// True after the first failed read.
    #[must_use]
    pub fn was_met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// Checks a read of the entries `from..to`.
    ///
    /// # Errors
    /// An entry is damaged, or reads fail at the moment.
    pub(crate) fn check(&self, key: LogKey, from: u64, to: u64) -> io::Result<()> {
        if key.group == GroupId::SYSTEM {
            return Ok(());
        }
        let failing = lock(&self.fails_until).is_some_and(|until| until > Instant::now());
        let damaged = lock(&self.entries).range((key, from)..(key, to)).next().copied();
        if !failing && damaged.is_none() {
            return Ok(());
        }
        self.met.store(true, Ordering::Relaxed);
        Err(match damaged {
            Some((_, index)) => {
                io::Error::new(io::ErrorKind::InvalidData, format!("entry {index}: wrong checksum of the block"))
            }
            None => io::Error::other("the disk cannot be read"),
        })
    }

    /// Forgets the damaged entries that a write removes; true for the removal of the last entry.
    pub(crate) fn carried_out(&self, key: LogKey, op: &LogOp) -> bool {
        let mut entries = lock(&self.entries);
        let before = entries.len();
        match op {
            LogOp::Truncate(from) => entries.retain(|(k, index)| *k != key || index < from),
            LogOp::Purge(upto) => entries.retain(|(k, index)| *k != key || *index > upto.index),
            LogOp::Deleted(_) => entries.retain(|(k, _)| *k != key),
            LogOp::Created(_) | LogOp::Vote(_) | LogOp::Append(_) | LogOp::Fenced(_) => {}
        }
        before > 0 && entries.is_empty()
    }

    /// Forgets all damage, as the disk was replaced.
    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
        *lock(&self.fails_until) = None;
    }
}
