//! Rows of a partition, and the trait for access to the rows.

use super::{
    block::Block,
    command::{FIRST_RULES, Settings},
    digest::IdsHash,
};
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
    /// Version of the settings in force; 0 before the first settings.
    pub settings_version: u64,
    /// Window in which repeats are recognised, microseconds.
    pub repeat_window_us: u64,
    /// True if the store refuses appends.
    pub closed: bool,
    /// Number of the open bucket of repeat rows; rises by one with each bucket.
    pub repeat_bucket: u64,
    /// Recorded time of the append that opened the bucket, Unix time in microseconds.
    pub repeat_bucket_start_us: u64,
    /// Lowest bucket whose repeat rows count. Never falls, because rows below may have been removed.
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
            settings_version: 0,
            repeat_window_us: REPEAT_WINDOW_US,
            closed: false,
            repeat_bucket: 0,
            repeat_bucket_start_us: 0,
            repeat_floor: 0,
        }
    }
}

impl PartitionMeta {
    /// Returns the settings in force.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        Settings { version: self.settings_version, repeat_window_us: self.repeat_window_us, closed: self.closed }
    }

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
    /// Size of all events of the stream (data plus metadata), bytes.
    pub bytes: u64,
}

/// Row of an append, with the stream number and the revision of the first event as the key.
///
/// The row holds everything that the rules need of an earlier append, so that no outcome depends on a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRow {
    /// Position of the first event.
    pub first_position: Position,
    /// Number of events.
    pub count: u32,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// Hash of the ids of all events, in order.
    pub ids_hash: IdsHash,
    /// Size of the events of the stream before the append (data plus metadata), bytes.
    pub bytes_before: u64,
}

/// Key of a repeat row: identifies an append by the id of the first event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepeatKey {
    /// Number of the stream.
    pub stream_no: StreamNo,
    /// Id of the first event.
    pub first_id: EventId,
}

/// Outcome of an earlier append, kept to recognise repeats of the append. A later append with the same first id, after
/// the row no longer counts, replaces the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatRow {
    /// Number of the bucket that was open at the append.
    pub bucket: u64,
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Number of events.
    pub count: u32,
    /// Position of the first event.
    pub first_position: Position,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// Hash of the ids of all events, in order.
    pub ids_hash: IdsHash,
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
    /// Reads the row of the append whose first event has the revision `first`. An append that only contains the revision
    /// is not found.
    ///
    /// # Errors
    /// Returns an error if storage fails or the row cannot be decoded.
    fn append_at(&mut self, stream: StreamNo, first: Revision) -> Result<Option<AppendRow>, Self::Error>;
    /// Reads a repeat row.
    ///
    /// # Errors
    /// Returns an error if storage fails or the row cannot be decoded.
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Self::Error>;
    /// Writes a block, the row of its append ([`Block::append_row`]) and the row of the stream ([`Block::stream_row`]).
    fn put_block(&mut self, block: Block, row: AppendRow);
    /// Writes a repeat row.
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow);
}
