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
    stream::{Block, RepeatKey, RepeatRow, State, StreamRow},
};

/// Staged writes of one apply call, layered over the applied rows.
pub(crate) struct StagedBatch<'a> {
    db: &'a StateDb,
    partition: PartitionId,
    generation: u8,
    batch: Batch,
    streams: BTreeMap<StreamName, StreamRow>,
    blocks: BTreeMap<(StreamNo, Revision), Block>,
    repeats: BTreeMap<RepeatKey, RepeatRow>,
    repeats_gone: u64,
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
            blocks: BTreeMap::new(),
            repeats: BTreeMap::new(),
            repeats_gone: 0,
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

    fn block_at(&mut self, stream: StreamNo, revision: Revision) -> Result<Option<Block>, Error> {
        let staged = self.blocks.range(..=(stream, revision)).next_back().filter(|(key, _)| key.0 == stream);
        if let Some((_, block)) = staged {
            return Ok(Some(block.clone()));
        }
        let view = self.db.view();
        let (from, _) = schema::stream_bounds(self.partition, stream);
        let at = schema::stream(self.partition, stream, revision);
        let Some(row) = view.falling(Family::Stream, &from, &at)?.next() else { return Ok(None) };
        let (key, value) = row?;
        let (first, _) = codec::decode_stream_index(&value).map_err(Error::row(Family::Stream, &key))?;
        Ok(Some(block(&view, self.partition, first)?))
    }

    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Error> {
        if let Some(row) = self.repeats.get(key) {
            return Ok(Some(*row));
        }
        if key.bucket < self.repeats_gone {
            return Ok(None);
        }
        let key = schema::repeat(self.partition, self.generation, key);
        let row = self.db.get(Family::Dedup, &key)?;
        row.map(|row| codec::decode_repeat(&row).map_err(Error::row(Family::Dedup, &key))).transpose()
    }

    fn put_block(&mut self, block: Block) {
        stage_block(&mut self.batch, self.partition, &block);
        let row = StreamRow { no: block.stream_no, last: block.last_revision() };
        let key = schema::name(self.partition, self.generation, block.stream.as_str());
        self.batch.put(Family::Names, key, codec::encode_name(row));
        self.streams.insert(block.stream.clone(), row);
        self.blocks.insert((block.stream_no, block.first_revision), block);
    }

    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow) {
        self.batch.put(
            Family::Dedup,
            schema::repeat(self.partition, self.generation, &key),
            codec::encode_repeat(&row),
        );
        self.repeats.insert(key, row);
    }

    fn drop_repeats(&mut self, from: u64, to: u64) {
        let bucket = |n| schema::bucket(self.partition, self.generation, n);
        self.batch.delete_range(Family::Dedup, bucket(from), bucket(to));
        self.repeats.retain(|key, _| key.bucket < from || key.bucket >= to);
        self.repeats_gone = self.repeats_gone.max(to);
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
pub(crate) fn stage_block(batch: &mut Batch, partition: PartitionId, block: &Block) {
    batch.put(Family::Data, schema::data(partition, block.first_position), codec::encode_block(block));
    batch.put(
        Family::Stream,
        schema::stream(partition, block.stream_no, block.first_revision),
        codec::encode_stream_index(block.first_position, block.events.len()),
    );
}
