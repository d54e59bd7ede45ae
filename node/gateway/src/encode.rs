//! Conversion from domain types to messages of the wire; [`decode`](super::decode) is the opposite direction.

use bytes::BytesMut;
use prost::Message;
use taffrail_core::{
    append::{Appended, ExpectedRevision, Tail},
    event::RecordedEvent,
    names::StreamName,
};
use taffrail_proto::v1;
use taffrail_store_api::LeaderHint;

/// Bound of the encoded bytes around the events of a page: store id, lineage, resume token, and the header of the message.
const PAGE_OVERHEAD: usize = 256;
/// Bound of the encoded bytes around an event of a page: tag and length.
const EVENT_OVERHEAD: usize = 6;
/// Microseconds in a second.
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Converts the outcome of an append to the response for the client.
#[must_use]
pub(crate) fn appended(a: &Appended) -> v1::AppendResponse {
    v1::AppendResponse {
        first_revision: Some(a.first_revision.get()),
        last_revision: Some(a.last_revision.get()),
        first_position: Some(a.first_position.get()),
        last_position: Some(a.last_position.get()),
        deduplicated: a.repeated,
        recorded_at: Some(timestamp(a.recorded_at_us)),
    }
}

fn expected(expected: ExpectedRevision) -> v1::ExpectedRevision {
    use v1::expected_revision::Kind;
    let kind = match expected {
        ExpectedRevision::Any => Kind::Any(v1::Unit {}),
        ExpectedRevision::NoStream => Kind::NoStream(v1::Unit {}),
        ExpectedRevision::StreamExists => Kind::StreamExists(v1::Unit {}),
        ExpectedRevision::Exact(r) => Kind::Exact(r.get()),
    };
    v1::ExpectedRevision { kind: Some(kind) }
}

/// Converts the refusal of an append by the state of the stream.
#[must_use]
pub(crate) fn wrong_revision(stream: &StreamName, wanted: ExpectedRevision, actual: Tail) -> v1::WrongRevision {
    use v1::actual_revision::Kind;
    let kind = match actual {
        Tail::Empty => Kind::Absent(v1::Unit {}),
        Tail::At(revision) => Kind::At(revision.get()),
    };
    v1::WrongRevision {
        stream: stream.as_str().to_owned(),
        expected: Some(expected(wanted)),
        actual: Some(v1::ActualRevision { kind: Some(kind) }),
    }
}

/// Converts a hint to the leader of a store. `client_address` is the address of the leader's node for clients, if known.
#[must_use]
pub(crate) fn leader(hint: LeaderHint, client_address: Option<String>) -> v1::LeaderHint {
    v1::LeaderHint {
        node_id: hint.node.get(),
        term: Some(hint.term),
        client_address: client_address.unwrap_or_default(),
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
        occurred_at: e.event.occurred_at_us.map(occurred_at),
    }
}

/// Converts the events of a page. Data and metadata are copied into a buffer of the page: the events of a replica share the
/// buffers of whole blocks, often many times the page.
#[must_use]
pub(crate) fn page(events: impl Iterator<Item = RecordedEvent>) -> Vec<v1::RecordedEvent> {
    let mut page: Vec<v1::RecordedEvent> = events.map(event).collect();
    let mut buffer = BytesMut::with_capacity(page.iter().map(|e| e.data.len() + e.metadata.len()).sum());
    for event in &mut page {
        for field in [&mut event.data, &mut event.metadata].into_iter().filter(|field| !field.is_empty()) {
            buffer.extend_from_slice(field);
            *field = buffer.split().freeze();
        }
    }
    page
}

/// Returns the encoded size of a message with the events of a page, in bytes.
#[must_use]
pub(crate) fn page_len(page: &[v1::RecordedEvent]) -> usize {
    PAGE_OVERHEAD + page.iter().map(|event| event.encoded_len() + EVENT_OVERHEAD).sum::<usize>()
}

/// Converts a time of the application, in microseconds since 1970; the fraction of a second is never negative.
fn occurred_at(us: i64) -> prost_types::Timestamp {
    let micros = us.rem_euclid(MICROS_PER_SECOND);
    prost_types::Timestamp {
        seconds: us.div_euclid(MICROS_PER_SECOND),
        nanos: i32::try_from(micros * 1000).unwrap_or_default(),
    }
}

fn timestamp(us: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from((us % 1_000_000) * 1000).unwrap_or(0),
    }
}
