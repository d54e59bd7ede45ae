//! [`SnapshotInstall`]: installs the state of another replica. Rows of `data` are appended to this replica's events,
//! all other rows go into a new generation; a single write at the end makes the rows current.
//!
//! - While `GroupState::installing` is set, nothing is applied or served. The field is set and flushed before the first
//!   row arrives, and cleared in the last write. An abort deletes the received rows and leaves the field set, because
//!   the group has purged the next entries of this replica. After a crash, the next start of the replica finds the
//!   field set, deletes the rows and clears the field.
//! - `GroupState::must_refill` is set by the write that deletes the state of this replica, and cleared only by the last
//!   write of an install. A replica with this field is not started before another install has finished.
//! - Received rows are verified: the rows must continue this replica's events without a hole, and each block's
//!   digest is recomputed. The digest of a gap is the source's; the digest of the next block and the counters must
//!   follow from it.

use super::{
    applied_state::AppliedState,
    chunk_error::ChunkError,
    codec,
    data_row::DataRow,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    staged_batch::stage_block,
    state_db::Batch,
};
use bytes::Bytes;
use taffrail_core::{
    ids::{Digest, PartitionId},
    stream::{PartitionMeta, RULES},
};
use taffrail_proto::peer::{CatchUpChunk, Row};

/// Maximum number of blocks deleted by a single write.
const CLEAR_BLOCKS_MAX: usize = 1024;

/// Progress of an install: the next block's position, and the digest of the events before the next block.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotInstall {
    next_position: u64,
    digest: Digest,
    started: bool,
}

impl SnapshotInstall {
    /// Starts an install; the start is durable in [`GroupState::installing`]. Deletes the rows of an
    /// unfinished install first.
    pub(super) fn begin(applied: &mut AppliedState) -> Result<Self, Error> {
        if applied.state.installing != 0 {
            delete_received(applied)?;
        }
        let state = GroupState { installing: applied.state.other_generation(), ..applied.state.clone() };
        applied.write_group_durably(Batch::default(), state)?;
        Ok(Self::after(&applied.meta))
    }

    /// Stores a chunk; a refused chunk does not advance the install. The last chunk makes the received state current,
    /// and the answer is `true`.
    pub(super) fn take(&mut self, applied: &mut AppliedState, chunk: CatchUpChunk) -> Result<bool, Error> {
        let mut next = *self;
        if !next.started {
            next = Self::start(applied, chunk.from_position, &chunk.from_digest)?;
        }
        if !chunk.rows.is_empty() {
            let number = chunk.family;
            let family = Family::from_number(number).ok_or(ChunkError::Family(number))?;
            next.take_rows(applied, family, chunk.rows)?;
        }
        *self = next;
        let last = !chunk.group_meta.is_empty();
        if last {
            self.finish(applied, &chunk.group_meta, &chunk.partition_meta)?;
        }
        Ok(last)
    }

    fn start(applied: &mut AppliedState, start: u64, digest: &[u8]) -> Result<Self, Error> {
        let end = applied.meta.next_position;
        if start == 0 || start > end {
            return Err(ChunkError::Start { start, end }.into());
        }
        if start == 1 && end != 1 {
            start_over(applied)?;
        } else if start != end {
            cut(applied, start, digest)?;
        }
        Ok(Self { started: true, ..Self::after(&applied.meta) })
    }

    fn after(meta: &PartitionMeta) -> Self {
        Self { next_position: meta.next_position, digest: meta.event_digest, started: false }
    }

    fn take_rows(&mut self, applied: &AppliedState, family: Family, rows: Vec<Row>) -> Result<(), Error> {
        let mut batch = Batch::default();
        match family {
            Family::Data => {
                for row in rows {
                    self.take_data(applied.partition, row, &mut batch)?;
                }
            }
            Family::Names | Family::Dedup | Family::Index | Family::Subs | Family::Snap => {
                for row in rows {
                    let mut key = schema::generation(applied.partition, applied.state.installing).to_vec();
                    key.extend_from_slice(&row.key);
                    batch.put(family, key, row.value);
                }
            }
            // Rows of `stream` are derived from the blocks, and rows of `meta` arrive with the last chunk.
            Family::Meta | Family::Stream => return Err(ChunkError::Family(family as u32).into()),
        }
        Ok(applied.db.write(batch)?)
    }

    /// Stages the next block or gap. The row must start at the next position, and the digest of a block must continue
    /// the digest of the events before.
    fn take_data(&mut self, partition: PartitionId, row: Row, batch: &mut Batch) -> Result<(), Error> {
        let data = codec::decode_data_row(row.value).map_err(Error::row(Family::Data, &row.key))?;
        let found = data.first_position().get();
        if found != self.next_position || *row.key != found.to_be_bytes() {
            return Err(ChunkError::Gap { found, expected: self.next_position }.into());
        }
        match &data {
            DataRow::Block(block) if !block.follows(&self.digest) => return Err(ChunkError::Digest(found).into()),
            DataRow::Block(block) => stage_block(batch, partition, block, &block.append_row()),
            DataRow::Gap(gap) => {
                batch.put(Family::Data, schema::data(partition, gap.first_position), codec::encode_gap(gap));
            }
        }
        (self.next_position, self.digest) = (data.next_position(), data.event_digest());
        Ok(())
    }

    /// Makes the received state current and durable, and deletes the replaced generation.
    fn finish(&self, applied: &mut AppliedState, group: &[u8], partition: &Bytes) -> Result<(), Error> {
        let theirs = GroupState::decode(Some(group))?;
        let meta = codec::decode_partition(partition)?;
        if meta.rules > RULES {
            return Err(Error::UnknownRules { rules: meta.rules, partition: applied.partition });
        }
        if meta.next_position != self.next_position {
            return Err(ChunkError::Counters { next: meta.next_position, end: self.next_position }.into());
        }
        if meta.event_digest != self.digest {
            return Err(Error::Digest { partition: applied.partition });
        }
        if theirs.next_index() < applied.state.next_index() {
            let (source_index, index) = (theirs.applied_index(), applied.state.applied_index());
            return Err(ChunkError::Older { source_index, index }.into());
        }
        let state = GroupState { generation: applied.state.installing, installing: 0, must_refill: false, ..theirs };
        let mut batch = Batch::default();
        drop_generation(&mut batch, applied.partition, applied.state.generation);
        applied.write_durably(batch, meta, state)
    }
}

/// Deletes the rows of an unfinished install and clears `installing`. The caller opens the replica after a crash.
pub(super) fn clear(applied: &mut AppliedState) -> Result<(), Error> {
    delete_received(applied)?;
    let state = GroupState { installing: 0, ..applied.state.clone() };
    applied.write_group_durably(Batch::default(), state)
}

/// Deletes the rows of an unfinished install: events above the counters, the stream keys of these events, and
/// the new generation. Every write is bounded. `installing` stays set, so the open after a crash repeats the deletion.
pub(super) fn delete_received(applied: &AppliedState) -> Result<(), Error> {
    let (mut from, to) = schema::data_from(applied.partition, applied.meta.next_position);
    loop {
        let (mut batch, mut last) = (Batch::default(), None);
        let view = applied.db.view();
        for row in view.scan(Family::Data, &from, &to)?.take(CLEAR_BLOCKS_MAX) {
            let (key, value) = row?;
            let row = codec::decode_data_row(Bytes::from(value.into_vec())).map_err(Error::row(Family::Data, &key))?;
            if let DataRow::Block(block) = row {
                batch.delete(Family::Stream, schema::stream(applied.partition, block.stream_no, block.first_revision));
            }
            last = Some(key);
        }
        let Some(last) = last else { break };
        let mut end = last.into_vec();
        end.push(0);
        batch.delete_range(Family::Data, from, end.clone());
        applied.db.write(batch)?;
        from = end;
    }
    let mut batch = Batch::default();
    drop_generation(&mut batch, applied.partition, applied.state.installing);
    Ok(applied.db.write(batch)?)
}

/// Deletes all events of this replica, because the source has different events before this replica's next position
/// and sends all events again. From this write on the replica has applied nothing and must be refilled, even after a
/// crash before the end of the install.
fn start_over(applied: &mut AppliedState) -> Result<(), Error> {
    let state = nothing_applied(&applied.state);
    let mut batch = Batch::default();
    for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
        let (from, to) = schema::partition_bounds(applied.partition);
        batch.delete_range(family, from, to);
    }
    applied.write_durably(batch, PartitionMeta::default(), state)
}

fn nothing_applied(before: &GroupState) -> GroupState {
    GroupState {
        generation: before.generation,
        installing: before.installing,
        must_refill: true,
        ..GroupState::default()
    }
}

/// Deletes the events of this replica from `start` on, because the source has removed events around the end of this
/// replica, and sends its rows from there. `digest` is the source's digest of the events before. Without the same digest
/// at the same place all events of this replica are deleted, and the install fails; the next install
/// begins with the first event.
///
/// As after a [start over](start_over), the replica has applied nothing and must be refilled.
fn cut(applied: &mut AppliedState, start: u64, digest: &[u8]) -> Result<(), Error> {
    let own = DataRow::digest_at(&applied.db.view(), applied.partition, start)?;
    let Some(own) = own.filter(|own| own.0.as_slice() == digest) else {
        start_over(applied)?;
        return Err(ChunkError::Boundary(start).into());
    };
    // The counters end at `start` before the rows go, so the deletion is completed after a crash. The other counters arrive with
    // the state: the floor of this replica could be higher, and compaction would remove rows that count in the state.
    let meta = PartitionMeta { next_position: start, event_digest: own, ..PartitionMeta::default() };
    applied.write_durably(Batch::default(), meta, nothing_applied(&applied.state))?;
    delete_received(applied)
}

fn drop_generation(batch: &mut Batch, partition: PartitionId, generation: u8) {
    for family in Family::GENERATIONS {
        let (from, to) = schema::generation_bounds(partition, generation);
        batch.delete_range(family, from, to);
    }
}
