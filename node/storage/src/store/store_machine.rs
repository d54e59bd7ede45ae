//! The state machine of a store group over one partition: events, keys, counters and the applied log id change in one
//! write.

use super::{
    codec,
    schema::{self, Family},
    snapshot_install::Install,
    staged_batch::Staged,
    state_db::{Batch, StateDb},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    ids::{Digest, GroupId, PartitionId, Position},
    stream::{self, PartitionMeta, RULES},
};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_raft::{
    log::log_storage::payload_len,
    machine::{CatchUpPoint, Machine, MachineError},
    types::{Entry, LogId, Payload, Reply, StoredMembership},
};
use taffrail_store_api::{Applied, StoreTotals};

pub use super::{error::Error, group_state::GroupState};

/// Payload that one write gathers before it is carried out.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// See the module.
pub struct StoreMachine {
    pub(super) db: Arc<StateDb>,
    pub(super) group: GroupId,
    pub(super) partition: PartitionId,
    pub(super) state: GroupState,
    pub(super) meta: PartitionMeta,
    pub(super) install: Option<Install>,
}

impl StoreMachine {
    /// Opens the machine as of the last flush before a crash, or as of the last write while the process lives. A catch-up
    /// that was cut short is cleared away.
    ///
    /// # Errors
    /// When rows do not decode, counters and events are not of the same write, or RocksDB fails.
    pub fn open(db: Arc<StateDb>, group: GroupId, partition: PartitionId) -> Result<Self, Error> {
        let row = db.get(Family::Meta, &schema::group_meta(group))?;
        let state = GroupState::decode(row.as_deref())?;
        let meta = load_partition(&db, partition)?;
        let mut this = Self { db, group, partition, state, meta, install: None };
        if this.state.installing != 0 {
            this.clear_install()?;
        }
        this.check()?;
        Ok(this)
    }

    /// The counters and the last block must be of the same write, and of rules that this version knows.
    fn check(&self) -> Result<(), Error> {
        if self.meta.rules > RULES {
            let why =
                format!("rules {} of partition {} are not known to this version", self.meta.rules, self.partition);
            return Err(Error::Unsupported(why));
        }
        let view = self.db.view();
        let (from, _) = schema::partition_bounds(self.partition);
        let last =
            view.falling(Family::Data, &from, &schema::data(self.partition, Position::MAX))?.next().transpose()?;
        let (end, digest) = match last {
            None => (1, Digest::default()),
            Some((key, value)) => {
                let block =
                    codec::decode_block(Bytes::from(value.into_vec())).map_err(Error::row(Family::Data, &key))?;
                (block.next_position(), block.event_digest)
            }
        };
        if end != self.meta.next_position {
            return Err(Error::Counters { partition: self.partition, next: self.meta.next_position, end });
        }
        if digest != self.meta.event_digest {
            return Err(Error::Digest { partition: self.partition });
        }
        Ok(())
    }

    fn apply_slice(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, Error> {
        let db = Arc::clone(&self.db);
        let mut staged = Staged::new(&db, self.partition, self.state.generation);
        let (mut meta, mut state) = (self.meta.clone(), self.state.clone());
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            // openraft does not check it: a log that was purged further than the state survived would be applied with a gap.
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
        let mut batch = staged.into_batch();
        self.stage_metas(&mut batch, &meta, &state);
        db.write(batch)?;
        (self.meta, self.state) = (meta, state);
        Ok(replies)
    }

    pub(super) fn stage_metas(&self, batch: &mut Batch, meta: &PartitionMeta, state: &GroupState) {
        batch.put(Family::Meta, schema::partition_meta(self.partition), codec::encode_partition(meta));
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
    }

    /// Counters of the applied state.
    #[must_use]
    pub fn totals(&self) -> StoreTotals {
        StoreTotals {
            events: self.meta.events,
            last_position: self.meta.last_position(),
            digest: self.meta.digest,
            applied_index: self.state.applied_index(),
        }
    }
}

/// A partition's counters; those of an empty one if it has no row.
fn load_partition(db: &StateDb, partition: PartitionId) -> Result<PartitionMeta, Error> {
    let key = schema::partition_meta(partition);
    let row = db.get(Family::Meta, &key)?;
    row.map_or_else(
        || Ok(PartitionMeta::default()),
        |row| codec::decode_partition(&row).map_err(Error::row(Family::Meta, &key)),
    )
}

impl Machine for StoreMachine {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        (self.state.applied, self.state.membership.clone())
    }

    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        let row = self.db.get_persisted(Family::Meta, &schema::group_meta(self.group)).map_err(Error::from)?;
        let state = GroupState::decode(row.as_deref())?;
        Ok((state.applied, state.membership))
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        if self.state.installing != 0 {
            return Err(Error::Installing.into());
        }
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
        Ok(self.db.flush().map_err(Error::from)?)
    }

    fn progress(&self) -> Applied {
        Applied { index: self.state.applied_index(), position: self.meta.last_position(), rules: self.meta.rules }
    }

    fn digest(&self) -> Digest {
        self.meta.digest
    }

    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint { next_position: self.meta.next_position, digest: self.meta.event_digest }
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        Ok(self.begin()?)
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        Ok(self.add(chunk)?)
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        if self.state.installing == 0 {
            Ok(())
        } else {
            Err(Error::from(super::snapshot_install::ChunkError::Ended).into())
        }
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        if self.state.installing == 0 { Ok(()) } else { Ok(self.clear_install()?) }
    }
}

/// Removes everything of a group and its partition. Call only under a synced tombstone of the replica.
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
    Ok(())
}
