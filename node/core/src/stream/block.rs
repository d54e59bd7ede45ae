//! Blocks: the unit in which a store keeps events.

use crate::{
    event::NewEvent,
    ids::{Digest, Position, Revision, StreamNo},
    names::StreamName,
};

/// The events of one append, stored together.
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
    /// The events, in order; never empty.
    pub events: Vec<NewEvent>,
}

impl Block {
    /// Revision of the last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let more = (self.events.len() as u64).saturating_sub(1);
        Revision::new(self.first_revision.get().saturating_add(more)).unwrap_or(Revision::MAX)
    }

    /// The position after the last event.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position.get().saturating_add(self.events.len() as u64)
    }
}
