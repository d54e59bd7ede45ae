//! Conversion from domain types to messages of the wire; [`decode`](super::decode) is the opposite direction.

use taffrail_core::{
    append::{Append, Appended, ExpectedRevision},
    event::RecordedEvent,
};
use taffrail_proto::v1;

/// Converts the outcome of an append to the response for the client.
#[must_use]
pub(crate) fn appended(a: &Appended) -> v1::AppendResponse {
    v1::AppendResponse {
        first_revision: a.first_revision.get(),
        last_revision: a.last_revision.get(),
        first_position: a.first_position.get(),
        last_position: a.last_position.get(),
        repeated: a.repeated,
        recorded_at: Some(timestamp(a.recorded_at_us)),
    }
}

/// Converts an append to the request for a peer.
#[must_use]
pub(crate) fn append(a: &Append) -> v1::AppendRequest {
    use v1::expected_revision::Kind;
    let kind = match a.expected {
        ExpectedRevision::Any => Kind::Any(v1::Unit {}),
        ExpectedRevision::NoStream => Kind::NoStream(v1::Unit {}),
        ExpectedRevision::StreamExists => Kind::StreamExists(v1::Unit {}),
        ExpectedRevision::Exact(r) => Kind::Exact(r.get()),
    };
    let events = a.events.iter().map(|e| v1::NewEvent {
        id: e.id.to_string(),
        r#type: e.event_type.as_str().to_owned(),
        content_type: e.content_type.clone(),
        data: e.data.clone(),
        metadata: e.metadata.clone(),
        tags: e.tags.clone(),
        correlation_id: e.correlation_id.clone(),
        causation_id: e.causation_id.clone(),
    });
    v1::AppendRequest {
        stream: a.stream.as_str().to_owned(),
        expected: Some(v1::ExpectedRevision { kind: Some(kind) }),
        events: events.collect(),
    }
}

/// Converts a recorded event to the message for readers and subscribers.
#[must_use]
pub(crate) fn event(e: RecordedEvent) -> v1::RecordedEvent {
    v1::RecordedEvent {
        id: e.event.id.to_string(),
        stream: e.stream.as_str().to_owned(),
        revision: e.revision.get(),
        position: e.position.get(),
        r#type: e.event.event_type.as_str().to_owned(),
        content_type: e.event.content_type,
        data: e.event.data,
        metadata: e.event.metadata,
        tags: e.event.tags,
        correlation_id: e.event.correlation_id,
        causation_id: e.event.causation_id,
        recorded_at: Some(timestamp(e.recorded_at_us)),
    }
}

fn timestamp(us: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from((us % 1_000_000) * 1000).unwrap_or(0),
    }
}
