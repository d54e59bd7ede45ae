//! Events to append.

use crate::v1;
use bytes::Bytes;
use uuid::Uuid;

/// A random UUID (version 4) for an event.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the seam is the node's; ids of applications must differ between processes"
)]
pub fn new_id() -> Uuid {
    uuid::Builder::from_u128(rand::random()).with_version(uuid::Version::Random).into_uuid()
}

/// Builds one event. The id is made at once, so that every retry carries the same one.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder(v1::NewEvent);

impl EventBuilder {
    /// An event of a type, with a new id and no data.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self(v1::NewEvent { id: new_id().to_string(), r#type: event_type.into(), ..v1::NewEvent::default() })
    }
    /// An id of the application's own.
    pub fn id(mut self, id: Uuid) -> Self {
        self.0.id = id.to_string();
        self
    }
    /// A JSON payload.
    pub fn json(mut self, data: &serde_json::Value) -> Self {
        self.0.data = data.to_string().into();
        "application/json".clone_into(&mut self.0.content_type);
        self
    }
    /// A payload as bytes.
    pub fn bytes(mut self, content_type: impl Into<String>, data: impl Into<Bytes>) -> Self {
        self.0.content_type = content_type.into();
        self.0.data = data.into();
        self
    }
    /// Metadata of the application.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.0.metadata = metadata.into();
        self
    }
    /// A tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }
    /// What it belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.0.correlation_id = id.into();
        self
    }
    /// What brought it about.
    pub fn causation_id(mut self, id: impl Into<String>) -> Self {
        self.0.causation_id = id.into();
        self
    }
    /// The event.
    #[must_use]
    pub fn build(self) -> v1::NewEvent {
        self.0
    }
}
