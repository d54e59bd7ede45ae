//! The rows that apply reads and writes.

use super::{block::Block, command::FIRST_RULES};
use crate::{
    ids::{Digest, EventId, Position, Revision, StreamNo},
    limits::REPEAT_WINDOW_US,
    names::StreamName,
};

/// Counters and settings of a partition; written with every batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Rules in force; they begin at `FIRST_RULES` and rise only by a command of the log.
    pub rules: u32,
    /// The position that the next event gets; from 1.
    pub next_position: u64,
    /// The number that the next new stream gets; from 1.
    pub next_stream_no: u64,
    /// Unix time of the last event, microseconds.
    pub last_recorded_at_us: u64,
    /// Events stored.
    pub events: u64,
    /// Running digest of all outcomes.
    pub digest: Digest,
    /// Running digest of the stored events alone; stands in every block too.
    pub event_digest: Digest,
    /// How long repeats are recognised, microseconds.
    pub repeat_window_us: u64,
    /// The store takes no appends.
    pub closed: bool,
    /// Repeat rows of time buckets below this one are gone.
    pub repeat_floor: u64,
}

impl Default for PartitionMeta {
    fn default() -> Self {
        Self {
            rules: FIRST_RULES,
            next_position: 1,
            next_stream_no: 1,
            last_recorded_at_us: 0,
            events: 0,
            digest: Digest::default(),
            event_digest: Digest::default(),
            repeat_window_us: REPEAT_WINDOW_US,
            closed: false,
            repeat_floor: 0,
        }
    }
}

impl PartitionMeta {
    /// Position of the last event; 0 before the first.
    #[must_use]
    pub fn last_position(&self) -> Position {
        Position::new(self.next_position - 1).unwrap_or(Position::MAX)
    }
}

/// What is known of a stream by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// Its number.
    pub no: StreamNo,
    /// Revision of its last event.
    pub last: Revision,
}

/// Finds an append by its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepeatKey {
    /// Recorded time divided by the bucket's length.
    pub bucket: u64,
    /// The stream.
    pub stream_no: StreamNo,
    /// Id of its first event.
    pub first_id: EventId,
}

/// The answer that an append got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatRow {
    /// Revision of the first event.
    pub first_revision: Revision,
    /// How many events.
    pub count: u32,
    /// Position of the first event.
    pub first_position: Position,
    /// Unix time, microseconds.
    pub recorded_at_us: u64,
    /// Hash of all ids, in order.
    pub ids_hash: Digest,
}

/// The partition's own rows. Reads see what was written before in the same batch.
pub trait State {
    /// Why a row cannot be read.
    type Error;
    /// A stream by name.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Self::Error>;
    /// The block that holds the event of a stream at `revision`.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn block_at(&mut self, stream: StreamNo, revision: Revision) -> Result<Option<Block>, Self::Error>;
    /// A repeat row.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Self::Error>;
    /// Writes a block with its stream key, and the stream's row.
    fn put_block(&mut self, block: Block);
    /// Writes a repeat row.
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow);
    /// Removes the repeat rows of all buckets in `from..to`.
    fn drop_repeats(&mut self, from: u64, to: u64);
}
