//! Events, proposed and recorded.

use crate::{
    ids::{EventId, Position, Revision},
    names::{EventType, StreamName},
};
use bytes::Bytes;

/// What an application says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Makes appends idempotent.
    pub id: EventId,
    /// The kind of fact.
    pub event_type: EventType,
    /// MIME type; empty for unknown.
    pub content_type: String,
    /// Payload, as given.
    pub data: Bytes,
    /// Application metadata, as given.
    pub metadata: Bytes,
    /// At most 16.
    pub tags: Vec<String>,
    /// Empty for none.
    pub correlation_id: String,
    /// Empty for none.
    pub causation_id: String,
}

impl NewEvent {
    /// Bytes that count against the size limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its stream.
    pub stream: StreamName,
    /// Place in the stream.
    pub revision: Revision,
    /// Place in the store.
    pub position: Position,
    /// Unix time, microseconds; never going back within a store.
    pub recorded_at_us: u64,
    /// What the application said.
    pub event: NewEvent,
}
