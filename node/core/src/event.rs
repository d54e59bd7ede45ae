//! Events, proposed and recorded.

use crate::{
    ids::{EventId, Position, Revision},
    names::{EventType, StreamName},
};
use bytes::Bytes;

/// An event as the application appends it. See [`Append`](crate::append::Append) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Id given by the application; makes a repeated append idempotent.
    pub id: EventId,
    /// Type of the event.
    pub event_type: EventType,
    /// MIME type; empty for unknown.
    pub content_type: String,
    /// Payload, opaque to the store.
    pub data: Bytes,
    /// Metadata of the application, opaque to the store.
    pub metadata: Bytes,
    /// Tags; at most [`TAGS_MAX`](crate::limits::TAGS_MAX).
    pub tags: Vec<String>,
    /// Id that the events of one business process share; empty for none.
    pub correlation_id: String,
    /// Id of the message that caused the event; empty for none.
    pub causation_id: String,
}

impl NewEvent {
    /// Data plus metadata, bytes: the size that the limits bound.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The stream.
    pub stream: StreamName,
    /// Index in the stream.
    pub revision: Revision,
    /// Index in the store.
    pub position: Position,
    /// Time of the append, Unix time in microseconds; never goes back within a store.
    pub recorded_at_us: u64,
    /// The event as it was appended.
    pub event: NewEvent,
}
