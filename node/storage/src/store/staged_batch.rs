//! [`StagedBatch`]: the view of a partition for the rules while a batch is built. Reads see earlier staged rows.

use super::{
    codec,
    error::Error,
    schema::{self, Family},
    state_db::{Batch, StateDb, View},
};
use std::collections::BTreeMap;
use taffrail_core::{
    ids::{PartitionId, Position, Revision, StreamNo},
    names::StreamName,
    stream::{AppendRow, Block, RepeatKey, RepeatRow, State, StreamRow},
};
use taffrail_runtime::planted_defect::is_planted;

/// Staged writes of one apply call, layered over the applied rows.
pub(crate) struct StagedBatch<'a> {
    db: &'a StateDb,
    partition: PartitionId,
    generation: u8,
    batch: Batch,
    streams: BTreeMap<StreamName, StreamRow>,
    appends: BTreeMap<(StreamNo, Revision), AppendRow>,
    repeats: BTreeMap<RepeatKey, RepeatRow>,
}

impl<'a> StagedBatch<'a> {
    /// Makes an empty batch.
    #[must_use]
    pub(crate) fn new(db: &'a StateDb, partition: PartitionId, generation: u8) -> Self {
        Self {
            db,
            partition,
            generation,
            batch: Batch::default(),
            streams: BTreeMap::new(),
            appends: BTreeMap::new(),
            repeats: BTreeMap::new(),
        }
    }
    /// Returns the staged writes in the order of staging.
    #[must_use]
    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }
}

impl State for StagedBatch<'_> {
    type Error = Error;

    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Error> {
        if let Some(row) = self.streams.get(name) {
            return Ok(Some(*row));
        }
        let key = schema::name(self.partition, self.generation, name.as_str());
        let row = self.db.get(Family::Names, &key)?;
        row.map(|row| codec::decode_name(&row).map_err(Error::row(Family::Names, &key))).transpose()
    }

    fn append_at(&mut self, stream: StreamNo, first: Revision) -> Result<Option<AppendRow>, Error> {
        if let Some(row) = self.appends.get(&(stream, first)) {
            return Ok(Some(*row));
        }
        let key = schema::stream(self.partition, stream, first);
        let row = self.db.get(Family::Stream, &key)?;
        row.map(|row| codec::decode_append_row(&row).map_err(Error::row(Family::Stream, &key))).transpose()
    }

    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Error> {
        if let Some(row) = self.repeats.get(key) {
            return Ok(Some(*row));
        }
        let key = schema::repeat(self.partition, self.generation, key);
        // The defect: a cache of the latest appends of this replica decides instead of the rows.
        if is_planted("cache-decides-repeats") && self.db.get_persisted(Family::Dedup, &key)?.is_some() {
            return Ok(None);
        }
        let row = self.db.get(Family::Dedup, &key)?;
        row.map(|row| codec::decode_repeat(&row).map_err(Error::row(Family::Dedup, &key))).transpose()
    }

    fn put_block(&mut self, block: Block, append: AppendRow) {
        stage_block(&mut self.batch, self.partition, &block, &append);
        let row = block.stream_row();
        let key = schema::name(self.partition, self.generation, block.stream.as_str());
        self.batch.put(Family::Names, key, codec::encode_name(row));
        self.streams.insert(block.stream.clone(), row);
        self.appends.insert((block.stream_no, block.first_revision), append);
    }

    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow) {
        self.batch.put(
            Family::Dedup,
            schema::repeat(self.partition, self.generation, &key),
            codec::encode_repeat(&row),
        );
        self.repeats.insert(key, row);
    }
}

/// Reads the block at `first`, a position from a stream key.
///
/// # Errors
/// When the block is missing, does not decode, or RocksDB fails.
pub(crate) fn block(view: &View<'_>, partition: PartitionId, first: Position) -> Result<Block, Error> {
    let key = schema::data(partition, first);
    let row = view.get(Family::Data, &key)?.ok_or_else(|| Error::missing_block(partition, first))?;
    codec::decode_block(row).map_err(Error::row(Family::Data, &key))
}

/// Stages a block, and the stream key with the block's position.
pub(crate) fn stage_block(batch: &mut Batch, partition: PartitionId, block: &Block, row: &AppendRow) {
    batch.put(Family::Data, schema::data(partition, block.first_position), codec::encode_block(block));
    batch.put(
        Family::Stream,
        schema::stream(partition, block.stream_no, block.first_revision),
        codec::encode_append_row(row),
    );
}
