//! Events, before and after an append.

use crate::{
    ids::{EventId, Position, Revision},
    names::{EventType, StreamName},
};
use bytes::Bytes;

/// An event as provided by the application. See [`Append`](crate::append::Append) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Id given by the application; makes a repeated append idempotent.
    pub id: EventId,
    /// Type of the event, such as `OrderPlaced`.
    pub event_type: EventType,
    /// MIME type of `data`; empty if unknown.
    pub content_type: String,
    /// Payload, opaque to the store.
    pub data: Bytes,
    /// Metadata of the application, opaque to the store.
    pub metadata: Bytes,
    /// Tags of the event, sorted and without duplicates; at most [`TAGS_MAX`](crate::limits::TAGS_MAX).
    pub tags: Vec<String>,
    /// Id shared by all events of a business process; empty for none.
    pub correlation_id: String,
    /// Id of the message that caused the event; empty for none.
    pub causation_id: String,
    /// Time of the fact behind the event as given by the application, Unix time in microseconds. No rule depends
    /// on this time.
    pub occurred_at_us: Option<i64>,
}

impl NewEvent {
    /// Returns the size that counts for the limits: data plus metadata, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.data.len() + self.metadata.len()
    }
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Stream of the event.
    pub stream: StreamName,
    /// Index in the stream.
    pub revision: Revision,
    /// Index in the store.
    pub position: Position,
    /// Time of the append, Unix time in microseconds; never decreases within a store.
    pub recorded_at_us: u64,
    /// Content as appended by the application.
    pub event: NewEvent,
}
