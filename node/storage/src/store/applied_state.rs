//! [`AppliedState`]: the applied state of a replica's partition as of the last write.

use super::{
    codec,
    data_row::DataRow,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    state_db::{Batch, StateDb},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    ids::{Digest, GroupId, PartitionId, Position},
    stream::{PartitionMeta, RULES},
};

/// The group's row and the partition's counters, equal to the rows in the database. Both rows are part of every write
/// to the described data.
pub(super) struct AppliedState {
    pub(super) db: Arc<StateDb>,
    pub(super) group: GroupId,
    pub(super) partition: PartitionId,
    pub(super) state: GroupState,
    pub(super) meta: PartitionMeta,
}

impl AppliedState {
    /// Reads both rows from the database.
    pub(super) fn load(db: Arc<StateDb>, group: GroupId, partition: PartitionId) -> Result<Self, Error> {
        let row = db.get(Family::Meta, &schema::group_meta(group))?;
        let state = GroupState::decode(row.as_deref())?;
        let meta = load_partition(&db, partition)?;
        let this = Self { db, group, partition, state, meta };
        this.note_flushed_floor()?;
        Ok(this)
    }

    /// Checks that the rules number is known, and that counters and last row belong to the same write.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.meta.rules > RULES {
            return Err(Error::UnknownRules { rules: self.meta.rules, partition: self.partition });
        }
        let view = self.db.view();
        let last = DataRow::before(&view, self.partition, Position::MAX.get() + 1)?;
        let (end, digest) =
            last.map_or_else(|| (1, Digest::default()), |row| (row.next_position(), row.event_digest()));
        if end != self.meta.next_position {
            return Err(Error::Counters { partition: self.partition, next: self.meta.next_position, end });
        }
        if digest != self.meta.event_digest {
            return Err(Error::Digest { partition: self.partition });
        }
        Ok(())
    }

    /// Writes `batch` together with both rows. The rows become current after a successful write.
    pub(super) fn write(&mut self, batch: Batch, meta: PartitionMeta, state: GroupState) -> Result<(), Error> {
        self.db.write(self.with_rows(batch, &meta, &state))?;
        (self.meta, self.state) = (meta, state);
        Ok(())
    }

    /// Writes like [`write`](Self::write), then flushes. The rows become current after a successful flush.
    pub(super) fn write_durably(&mut self, batch: Batch, meta: PartitionMeta, state: GroupState) -> Result<(), Error> {
        self.db.write(self.with_rows(batch, &meta, &state))?;
        self.db.flush()?;
        (self.meta, self.state) = (meta, state);
        self.db.set_repeat_floor(self.partition, self.meta.repeat_floor);
        Ok(())
    }

    /// Allows compaction to remove the repeat rows not counting in the flushed state. The flushed state may be older
    /// than the applied state.
    pub(super) fn note_flushed_floor(&self) -> Result<(), Error> {
        let key = schema::partition_meta(self.partition);
        let flushed = decode_partition(self.db.get_persisted(Family::Meta, &key)?, &key)?;
        self.db.set_repeat_floor(self.partition, flushed.repeat_floor);
        Ok(())
    }

    /// Flushes the database. Compaction may then remove the repeat rows that no longer count.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.db.flush()?;
        self.db.set_repeat_floor(self.partition, self.meta.repeat_floor);
        Ok(())
    }

    /// Writes `batch` together with the group's row only, then flushes.
    pub(super) fn write_group_durably(&mut self, mut batch: Batch, state: GroupState) -> Result<(), Error> {
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        self.db.write(batch)?;
        self.db.flush()?;
        self.state = state;
        Ok(())
    }

    fn with_rows(&self, mut batch: Batch, meta: &PartitionMeta, state: &GroupState) -> Batch {
        batch.put(Family::Meta, schema::partition_meta(self.partition), codec::encode_partition(meta));
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        batch
    }
}

/// Reads the counters of a partition. A partition without a row is empty.
fn load_partition(db: &StateDb, partition: PartitionId) -> Result<PartitionMeta, Error> {
    let key = schema::partition_meta(partition);
    decode_partition(db.get(Family::Meta, &key)?, &key)
}

fn decode_partition(row: Option<Bytes>, key: &[u8]) -> Result<PartitionMeta, Error> {
    row.map_or_else(
        || Ok(PartitionMeta::default()),
        |row| codec::decode_partition(&row).map_err(Error::row(Family::Meta, key)),
    )
}
