//! Blocks, the unit of event storage.

use super::{
    digest::IdsHash,
    state::{AppendRow, StreamRow},
};
use crate::{
    event::NewEvent,
    ids::{Digest, Position, Revision, StreamNo},
    names::StreamName,
};

/// The events of an append, stored as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Running digest of the partition's events after this block.
    pub event_digest: Digest,
    /// Number of the stream.
    pub stream_no: StreamNo,
    /// Name of the stream.
    pub stream: StreamName,
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Position of the first event.
    pub first_position: Position,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// Size of the events of the stream before the append (data plus metadata), bytes.
    pub stream_bytes_before: u64,
    /// Events of the append, in order; never empty.
    pub events: Vec<NewEvent>,
}

impl Block {
    /// Returns the revision of the last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let more = (self.events.len() as u64).saturating_sub(1);
        Revision::new(self.first_revision.get().saturating_add(more)).unwrap_or(Revision::MAX)
    }

    /// Returns the position after the last event.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position.get().saturating_add(self.events.len() as u64)
    }

    /// Returns the row of the append.
    #[must_use]
    pub fn append_row(&self) -> AppendRow {
        AppendRow {
            first_position: self.first_position,
            count: u32::try_from(self.events.len()).unwrap_or(u32::MAX),
            recorded_at_us: self.recorded_at_us,
            ids_hash: IdsHash::of(&self.events),
            bytes_before: self.stream_bytes_before,
        }
    }

    /// Returns the row of the stream after the append.
    #[must_use]
    pub fn stream_row(&self) -> StreamRow {
        let added: u64 = self.events.iter().map(|e| e.size() as u64).sum();
        let bytes = self.stream_bytes_before.saturating_add(added);
        StreamRow { no: self.stream_no, last: self.last_revision(), bytes }
    }
}
