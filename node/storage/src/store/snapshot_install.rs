//! Taking over another replica's state. Rows of `data` go above what this replica has, all others into a generation of
//! their own; one write at the end makes them current.
//!
//! While `GroupState::installing` stands, nothing is applied or served. It is flushed before the first row comes and
//! cleared in the last write, so a replica that dies in the middle finds it at its next start and clears away what came.
//! What came is not believed: events must continue ours without a gap, and their digests are computed again.

use super::{
    codec,
    error::Error,
    group_state::GroupState,
    schema::{self, Family},
    staged_batch::stage_block,
    state_db::Batch,
    store_machine::StoreMachine,
};
use bytes::Bytes;
use taffrail_core::{
    ids::{Digest, PartitionId},
    stream::{PartitionMeta, RULES},
};
use taffrail_proto::peer::{CatchUpChunk, Row};

/// Blocks that one write clears away.
const CLEAR_BLOCKS_MAX: usize = 1024;

/// Why another replica's state is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// A chunk outside of a catch-up.
    #[error("a chunk came before the catch-up began")]
    NotBegun,
    /// The first chunk must say where its events start: where ours end, or at the very first.
    #[error("the events start at position {start}, ours end before {end}")]
    Start {
        /// Theirs.
        start: u64,
        /// Ours.
        end: u64,
    },
    /// Rows of a kind that does not travel.
    #[error("rows of column family {0} cannot be taken over")]
    Family(u32),
    /// The events have a gap or overlap.
    #[error("a block at position {found} came where {expected} must follow")]
    Gap {
        /// Of the block.
        found: u64,
        /// What must come.
        expected: u64,
    },
    /// The events are not those that the digest stands for.
    #[error("the digest of the block at position {0} is not that of its history")]
    Digest(u64),
    /// The counters in the last chunk are not those of the events that came.
    #[error("the counters say that position {next} is next, the events that came end before {end}")]
    Counters {
        /// By the counters.
        next: u64,
        /// By the events.
        end: u64,
    },
    /// The source has applied less than this replica.
    #[error("the source has applied up to {source_index}, this replica up to {index}")]
    Older {
        /// Theirs.
        source_index: u64,
        /// Ours.
        index: u64,
    },
    /// No last chunk.
    #[error("it ended without its last chunk")]
    Ended,
}

/// How far a catch-up has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Install {
    next_position: u64,
    digest: Digest,
    started: bool,
}

impl Install {
    fn after(meta: &PartitionMeta) -> Self {
        Self { next_position: meta.next_position, digest: meta.event_digest, started: false }
    }

    /// Takes the next block: ours must end where it begins, and its digest must follow from ours.
    fn take(&mut self, partition: PartitionId, row: Row, batch: &mut Batch) -> Result<(), Error> {
        let block = codec::decode_block(row.value).map_err(Error::row(Family::Data, &row.key))?;
        let found = block.first_position.get();
        if found != self.next_position || *row.key != found.to_be_bytes() {
            return Err(ChunkError::Gap { found, expected: self.next_position }.into());
        }
        if !block.follows(&self.digest) {
            return Err(ChunkError::Digest(found).into());
        }
        (self.next_position, self.digest) = (block.next_position(), block.event_digest);
        stage_block(batch, partition, &block);
        Ok(())
    }
}

impl StoreMachine {
    /// Marks the replica as being filled, durably.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if self.state.installing != 0 {
            self.clear_install()?;
        }
        let state = GroupState { installing: self.state.other_generation(), ..self.state.clone() };
        let mut batch = Batch::default();
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        self.db.write(batch)?;
        self.db.flush()?;
        self.state = state;
        self.install = Some(Install::after(&self.meta));
        Ok(())
    }

    /// Takes one chunk; the last one makes the state current.
    pub(super) fn add(&mut self, chunk: CatchUpChunk) -> Result<(), Error> {
        let Some(mut install) = self.install else { return Err(ChunkError::NotBegun.into()) };
        if !install.started {
            install = self.start(chunk.from_position)?;
        }
        if !chunk.rows.is_empty() {
            let number = chunk.family;
            let family = Family::from_number(number).ok_or(ChunkError::Family(number))?;
            self.take_rows(family, chunk.rows, &mut install)?;
        }
        self.install = Some(install);
        if !chunk.group_meta.is_empty() {
            self.finish(install, &chunk.group_meta, &chunk.partition_meta)?;
        }
        Ok(())
    }

    fn start(&mut self, start: u64) -> Result<Install, Error> {
        let end = self.meta.next_position;
        if start != end && start != 1 {
            return Err(ChunkError::Start { start, end }.into());
        }
        if start != end {
            self.start_over()?;
        }
        Ok(Install { started: true, ..Install::after(&self.meta) })
    }

    fn take_rows(&self, family: Family, rows: Vec<Row>, install: &mut Install) -> Result<(), Error> {
        let mut batch = Batch::default();
        match family {
            Family::Data => {
                for row in rows {
                    install.take(self.partition, row, &mut batch)?;
                }
            }
            Family::Names | Family::Dedup | Family::Index | Family::Subs | Family::Snap => {
                for row in rows {
                    let mut key = schema::generation(self.partition, self.state.installing).to_vec();
                    key.extend_from_slice(&row.key);
                    batch.put(family, key, row.value);
                }
            }
            // `stream` follows from the blocks, `meta` comes last.
            Family::Meta | Family::Stream => return Err(ChunkError::Family(family as u32).into()),
        }
        Ok(self.db.write(batch)?)
    }

    /// The source's history is another one before our next position: all of ours goes, and all of theirs comes. From here
    /// on this replica has applied nothing: if it dies before the end, it must not pass for one that has.
    fn start_over(&mut self) -> Result<(), Error> {
        let meta = PartitionMeta::default();
        let state = GroupState {
            generation: self.state.generation,
            installing: self.state.installing,
            ..GroupState::default()
        };
        let mut batch = Batch::default();
        for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
            let (from, to) = schema::partition_bounds(self.partition);
            batch.delete_range(family, from, to);
        }
        self.stage_metas(&mut batch, &meta, &state);
        self.db.write(batch)?;
        self.db.flush()?;
        (self.meta, self.state) = (meta, state);
        Ok(())
    }

    fn finish(&mut self, install: Install, group: &[u8], partition: &Bytes) -> Result<(), Error> {
        let theirs = GroupState::decode(Some(group))?;
        let meta = codec::decode_partition(partition)?;
        if meta.rules > RULES {
            return Err(Error::Unsupported(format!(
                "rules {} of the source are not known to this version",
                meta.rules
            )));
        }
        if meta.next_position != install.next_position {
            return Err(ChunkError::Counters { next: meta.next_position, end: install.next_position }.into());
        }
        if meta.event_digest != install.digest {
            return Err(Error::Digest { partition: self.partition });
        }
        if theirs.next_index() < self.state.next_index() {
            let (source_index, index) = (theirs.applied_index(), self.state.applied_index());
            return Err(ChunkError::Older { source_index, index }.into());
        }
        let old = self.state.generation;
        let state = GroupState { generation: self.state.installing, installing: 0, ..theirs };
        let mut batch = Batch::default();
        self.stage_metas(&mut batch, &meta, &state);
        self.drop_generation(&mut batch, old);
        self.db.write(batch)?;
        self.db.flush()?;
        (self.meta, self.state, self.install) = (meta, state, None);
        Ok(())
    }

    fn drop_generation(&self, batch: &mut Batch, generation: u8) {
        for family in Family::GENERATIONS {
            let (from, to) = schema::generation_bounds(self.partition, generation);
            batch.delete_range(family, from, to);
        }
    }

    /// Removes what an unfinished catch-up left: events above the counters, with the stream keys that their blocks name,
    /// and its generation. In bounded writes: whatever part of them survives a crash, the marker goes last.
    pub(super) fn clear_install(&mut self) -> Result<(), Error> {
        self.install = None;
        let (mut from, to) = schema::data_from(self.partition, self.meta.next_position);
        loop {
            let (mut batch, mut last) = (Batch::default(), None);
            let view = self.db.view();
            for row in view.scan(Family::Data, &from, &to)?.take(CLEAR_BLOCKS_MAX) {
                let (key, value) = row?;
                let block =
                    codec::decode_block(Bytes::from(value.into_vec())).map_err(Error::row(Family::Data, &key))?;
                batch.delete(Family::Stream, schema::stream(self.partition, block.stream_no, block.first_revision));
                last = Some(key);
            }
            let Some(last) = last else { break };
            let mut end = last.into_vec();
            end.push(0);
            batch.delete_range(Family::Data, from, end.clone());
            self.db.write(batch)?;
            from = end;
        }
        let mut batch = Batch::default();
        self.drop_generation(&mut batch, self.state.installing);
        let state = GroupState { installing: 0, ..self.state.clone() };
        batch.put(Family::Meta, schema::group_meta(self.group), state.encode());
        self.db.write(batch)?;
        self.db.flush()?;
        self.state = state;
        Ok(())
    }
}
