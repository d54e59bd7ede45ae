//! Construction of events to append.

use crate::v1;
use bytes::Bytes;
use std::time::SystemTime;
use uuid::Uuid;

/// Returns a random UUID (version 4) for use as an event id.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the node's seeded source is not available to applications; their ids must differ between processes"
)]
pub fn new_id() -> Uuid {
    uuid::Builder::from_u128(rand::random()).with_version(uuid::Version::Random).into_uuid()
}

/// Builds an event. [`EventBuilder::new`] fixes the id, so every retry of the event carries the same id.
///
/// ```
/// use serde_json::json;
/// use taffrail_client::EventBuilder;
///
/// let event = EventBuilder::new("OrderPlaced")
///     .json(&json!({ "total": 12 }))
///     .tag("customer:7")
///     .correlation_id("request-42")
///     .build();
/// assert_eq!(event.content_type, "application/json");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder(v1::NewEvent);

impl EventBuilder {
    /// Creates an event of a type, with a [new id](new_id) and an empty payload.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self(v1::NewEvent { id: new_id().to_string(), r#type: event_type.into(), ..v1::NewEvent::default() })
    }
    /// Replaces the id, for example by an id derived from the command of the application.
    pub fn id(mut self, id: Uuid) -> Self {
        self.0.id = id.to_string();
        self
    }
    /// Sets a JSON payload and the content type `application/json`.
    pub fn json(mut self, data: &serde_json::Value) -> Self {
        self.0.data = data.to_string().into();
        "application/json".clone_into(&mut self.0.content_type);
        self
    }
    /// Sets a payload of any content type.
    pub fn bytes(mut self, content_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        self.0.content_type = content_type.into();
        self.0.data = data.into();
        self
    }
    /// Sets the application's metadata; the store keeps the metadata beside the payload.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.0.metadata = metadata.into();
        self
    }
    /// Adds a tag: at most 16 tags of 1 to 128 bytes each, without control characters. The store sorts the tags
    /// and removes duplicates.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }
    /// Sets the id of the request or process behind the event; at most 128 bytes.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.0.correlation_id = id.into();
        self
    }
    /// Sets the id of the message that caused the event; at most 128 bytes.
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.0.causation_id = id.into();
        self
    }
    /// Sets the time of the fact behind the event, for example the original time of an imported event. The store
    /// keeps whole microseconds.
    pub fn occurred_at(mut self, at: SystemTime) -> Self {
        self.0.occurred_at = Some(at.into());
        self
    }
    /// Returns the event for [`Client::append`](crate::Client::append).
    #[must_use]
    pub fn build(self) -> v1::NewEvent {
        self.0
    }
}
