//! Blocks, the unit of event storage.

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
}
