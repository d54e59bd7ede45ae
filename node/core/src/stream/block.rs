//! The unit in which a store keeps events: those of one append, together.

use crate::{
    event::NewEvent,
    ids::{Digest, Position, Revision, StreamNo},
    names::StreamName,
};

/// Consecutive events of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// `PartitionMeta::event_digest` after these events.
    pub event_digest: Digest,
    /// The stream's number.
    pub stream_no: StreamNo,
    /// The stream's name.
    pub stream: StreamName,
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Position of the first event.
    pub first_position: Position,
    /// Unix time of all of them, microseconds.
    pub recorded_at_us: u64,
    /// The events, in order; never empty.
    pub events: Vec<NewEvent>,
}

impl Block {
    /// Revision of its last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let more = (self.events.len() as u64).saturating_sub(1);
        Revision::new(self.first_revision.get().saturating_add(more)).unwrap_or(Revision::MAX)
    }

    /// The position after its last event.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position.get().saturating_add(self.events.len() as u64)
    }
}
