//! [`StoreMachine`]: the state machine of a store's group, over a single partition. Events, keys, counters and applied
//! log id change in one write.

use super::{
    applied_state::AppliedState,
    chunk_error::ChunkError,
    codec,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    snapshot_install::{self, SnapshotInstall},
    staged_batch::StagedBatch,
    state_db::{Batch, StateDb},
};
use std::sync::Arc;
use taffrail_core::{
    ids::{Digest, GroupId, PartitionId},
    plan::Lineage,
    stream,
};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_raft::{
    log::log_storage::payload_len,
    machine::{CatchUpPoint, DetachedFlush, Machine, MachineError},
    types::{Entry, LogId, Payload, Reply, StoredMembership},
};
use taffrail_store_api::{Applied, StoreTotals};

/// Payload bytes combined into one write.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// The state machine of a replica of a store.
pub struct StoreMachine {
    applied: AppliedState,
    install: Option<SnapshotInstall>,
}

impl StoreMachine {
    /// Opens the machine at the state of the last write, or of the last flush after a crash. Deletes the rows of
    /// an unfinished install.
    ///
    /// # Errors
    /// When rows do not decode, counters and events disagree, or RocksDB fails.
    pub fn open(db: Arc<StateDb>, group: GroupId, partition: PartitionId) -> Result<Self, Error> {
        let mut applied = AppliedState::load(db, group, partition)?;
        if applied.state.installing != 0 {
            snapshot_install::clear(&mut applied)?;
        }
        applied.check()?;
        Ok(Self { applied, install: None })
    }

    fn apply_slice(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, Error> {
        let db = Arc::clone(&self.applied.db);
        let mut staged = StagedBatch::new(&db, self.applied.partition, self.applied.state.generation);
        let (mut meta, mut state) = (self.applied.meta.clone(), self.applied.state.clone());
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            // openraft does not check the index: if the log was purged beyond the surviving state, entries would be
            // applied with a gap.
            let (index, expected) = (entry.log_id.index, state.next_index());
            if index != expected {
                return Err(Error::Hole { index, expected });
            }
            replies.push(match &entry.payload {
                Payload::Blank => Reply::None,
                Payload::Membership(m) => {
                    state.membership = StoredMembership::new(Some(entry.log_id), m.clone());
                    Reply::None
                }
                Payload::Normal(command) => {
                    let command = codec::decode_command(command.0.clone())?;
                    Reply::Appends(stream::apply(&mut meta, &mut staged, &command)?)
                }
            });
            state.applied = Some(entry.log_id);
        }
        self.applied.write(staged.into_batch(), meta, state)?;
        Ok(replies)
    }

    /// Returns the counters of the applied state.
    #[must_use]
    pub fn totals(&self) -> StoreTotals {
        StoreTotals {
            events: self.applied.meta.events,
            last_position: self.applied.meta.last_position(),
            digest: self.applied.meta.digest,
            applied_index: self.applied.state.applied_index(),
        }
    }
}

impl Machine for StoreMachine {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        (self.applied.state.applied, self.applied.state.membership.clone())
    }

    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        let row = self
            .applied
            .db
            .get_persisted(Family::Meta, &schema::group_meta(self.applied.group))
            .map_err(Error::from)?;
        let state = GroupState::decode(row.as_deref())?;
        // A detached flush cannot set the floor itself: the state may have been replaced when the flush ends.
        self.applied.note_flushed_floor()?;
        Ok((state.applied, state.membership))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        self.applied.state.check_complete()?;
        let mut replies = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let (mut bytes, mut n) = (0, 0);
            while n < rest.len() && (n == 0 || bytes < WRITE_BYTES_MAX) {
                bytes += payload_len(&rest[n]);
                n += 1;
            }
            let (now, later) = rest.split_at(n);
            replies.extend(self.apply_slice(now)?);
            rest = later;
        }
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        Ok(self.applied.flush()?)
    }

    fn detached_flush(&self) -> Option<DetachedFlush> {
        let db = Arc::clone(&self.applied.db);
        Some(Box::new(move || Ok(db.flush().map_err(Error::from)?)))
    }

    fn progress(&self) -> Applied {
        Applied {
            index: self.applied.state.applied_index(),
            position: self.applied.meta.last_position(),
            rules: self.applied.meta.rules,
            settings: self.applied.meta.settings(),
            recorded_us: self.applied.meta.last_recorded_at_us,
        }
    }

    fn digest(&self) -> Digest {
        self.applied.meta.digest
    }

    fn copied_from(&self) -> Option<Lineage> {
        self.applied.state.copied_from
    }

    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint { next_position: self.applied.meta.next_position, digest: self.applied.meta.event_digest }
    }

    fn must_refill(&self) -> bool {
        self.applied.state.must_refill
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        self.install = None;
        self.install = Some(SnapshotInstall::begin(&mut self.applied)?);
        Ok(())
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        let install = self.install.as_mut().ok_or(Error::Chunk(ChunkError::NotBegun))?;
        if install.take(&mut self.applied, chunk)? {
            self.install = None;
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        if self.applied.state.installing == 0 { Ok(()) } else { Err(Error::Chunk(ChunkError::Ended).into()) }
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        self.install = None;
        if self.applied.state.installing != 0 {
            snapshot_install::delete_received(&self.applied)?;
        }
        Ok(())
    }
}

/// Deletes all rows of a group and of its partition. The caller must have synced the tombstone of the replica
/// before the call.
///
/// # Errors
/// When RocksDB fails.
pub fn delete_group(db: &StateDb, group: GroupId, partition: PartitionId) -> Result<(), Error> {
    let mut batch = Batch::default();
    for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
        let (from, to) = schema::partition_bounds(partition);
        batch.delete_range(family, from, to);
    }
    batch.delete(Family::Meta, schema::group_meta(group));
    batch.delete(Family::Meta, schema::partition_meta(partition));
    db.write(batch)?;
    db.flush()?;
    db.forget_repeat_floor(partition);
    Ok(())
}
