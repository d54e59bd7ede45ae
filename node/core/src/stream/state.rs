//! Rows of a partition, and the trait for access to the rows.

use super::{block::Block, command::FIRST_RULES};
use crate::{
    ids::{Digest, EventId, Position, Revision, StreamNo},
    limits::REPEAT_WINDOW_US,
    names::StreamName,
};

/// Counters and settings of a partition; written with every batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Number of the rules in force, from 1. Raised only by [`Kind::RaiseRules`](super::Kind::RaiseRules).
    pub rules: u32,
    /// Position of the next event; from 1.
    pub next_position: u64,
    /// Number of the next new stream; from 1.
    pub next_stream_no: u64,
    /// Recorded time of the last event, Unix time in microseconds.
    pub last_recorded_at_us: u64,
    /// Number of stored events.
    pub events: u64,
    /// Running digest of all outcomes.
    pub digest: Digest,
    /// Running digest of the stored events alone; also stored in every block.
    pub event_digest: Digest,
    /// Window in which repeats are recognised, microseconds.
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
    /// Returns the position of the last event; 0 before the first event.
    #[must_use]
    pub fn last_position(&self) -> Position {
        Position::new(self.next_position - 1).unwrap_or(Position::MAX)
    }
}

/// Row of a stream, with the name of the stream as the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// Number of the stream in the partition.
    pub no: StreamNo,
    /// Revision of the last event.
    pub last: Revision,
}

/// Key of a repeat row: identifies an append by the id of the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepeatKey {
    /// Number of the time bucket: recorded time divided by the length of a bucket.
    pub bucket: u64,
    /// Number of the stream.
    pub stream_no: StreamNo,
    /// Id of the first event.
    pub first_id: EventId,
}

/// Outcome of an earlier append, kept to recognise repeats of the append.
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

/// Access to the rows of a partition. Reads must return rows written earlier in the same batch.
pub trait State {
    /// Reason why a row cannot be read.
    type Error;
    /// Reads the row of a stream.
    ///
    /// # Errors
    /// Returns an error if storage fails or the row cannot be decoded.
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Self::Error>;
    /// Reads the block that contains the event of a stream at `revision`.
    ///
    /// # Errors
    /// Returns an error if storage fails or the row cannot be decoded.
    fn block_at(&mut self, stream: StreamNo, revision: Revision) -> Result<Option<Block>, Self::Error>;
    /// Reads a repeat row.
    ///
    /// # Errors
    /// Returns an error if storage fails or the row cannot be decoded.
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Self::Error>;
    /// Writes a block, the block's stream key and the row of the stream.
    fn put_block(&mut self, block: Block);
    /// Writes a repeat row.
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow);
    /// Removes the repeat rows of all buckets in `from..to`.
    fn drop_repeats(&mut self, from: u64, to: u64);
}
