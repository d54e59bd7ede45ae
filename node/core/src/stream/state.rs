//! Rows of a partition, and the trait through which they are read and written.

use super::{block::Block, command::FIRST_RULES};
use crate::{
    ids::{Digest, EventId, Position, Revision, StreamNo},
    limits::REPEAT_WINDOW_US,
    names::StreamName,
};

/// Counters and settings of a partition; written with every batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Rules in force. They begin at 1 and rise only by a command of the log.
    pub rules: u32,
    /// Position of the next event; from 1.
    pub next_position: u64,
    /// Number of the next new stream; from 1.
    pub next_stream_no: u64,
    /// Unix time of the last event, microseconds.
    pub last_recorded_at_us: u64,
    /// Number of stored events.
    pub events: u64,
    /// Running digest of all outcomes.
    pub digest: Digest,
    /// Running digest of the stored events alone; also stored in every block.
    pub event_digest: Digest,
    /// How long repeats are recognised, microseconds.
    pub repeat_window_us: u64,
    /// True if the store refuses appends.
    pub closed: bool,
    /// Lowest time bucket whose repeat rows may still exist.
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

/// A stream, found by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// Number of the stream in the partition.
    pub no: StreamNo,
    /// Revision of the last event.
    pub last: Revision,
}

/// Key of a repeat row: finds an append by its first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepeatKey {
    /// Recorded time divided by the bucket's length.
    pub bucket: u64,
    /// Number of the stream.
    pub stream_no: StreamNo,
    /// Id of the first event.
    pub first_id: EventId,
}

/// Outcome of an earlier append, kept to recognise a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatRow {
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Number of events.
    pub count: u32,
    /// Position of the first event.
    pub first_position: Position,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// Hash of the ids of all events, in order.
    pub ids_hash: Digest,
}

/// Rows of one partition. A read sees the rows that were written before in the same batch.
pub trait State {
    /// Reason why a row cannot be read.
    type Error;
    /// Reads a stream by its name.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Self::Error>;
    /// Reads the block that holds the event of a stream at `revision`.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn block_at(&mut self, stream: StreamNo, revision: Revision) -> Result<Option<Block>, Self::Error>;
    /// Reads a repeat row.
    ///
    /// # Errors
    /// When storage fails or a row does not decode.
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Self::Error>;
    /// Writes a block, its stream key and the row of its stream.
    fn put_block(&mut self, block: Block);
    /// Writes a repeat row.
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow);
    /// Removes the repeat rows of all buckets in `from..to`.
    fn drop_repeats(&mut self, from: u64, to: u64);
}
