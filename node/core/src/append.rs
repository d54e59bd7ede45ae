//! Appends to a stream, and their outcomes.

use crate::{
    event::NewEvent,
    ids::{EventId, Position, Revision},
    names::StreamName,
};
use std::fmt;

/// The state that a stream must be in for an append to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// Any state.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream's last event has this revision.
    Exact(Revision),
}

impl fmt::Display for ExpectedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::NoStream => f.write_str("no_stream"),
            Self::StreamExists => f.write_str("stream_exists"),
            Self::Exact(r) => fmt::Display::fmt(r, f),
        }
    }
}

/// A batch of events for one stream, stored whole or not at all. Never empty; the gateway has checked the sizes.
///
/// ```
/// use bytes::Bytes;
/// use taffrail_core::{
///     append::{Append, ExpectedRevision},
///     event::NewEvent,
///     ids::EventId,
///     names::{EventType, StreamName},
/// };
///
/// let placed = NewEvent {
///     id: "67e55044-10b1-426f-9247-bb680e5fe0c8".parse::<EventId>().unwrap(),
///     event_type: EventType::new("OrderPlaced").unwrap(),
///     content_type: "application/json".into(),
///     data: Bytes::from_static(br#"{"total": 12}"#),
///     metadata: Bytes::new(),
///     tags: vec!["customer-7".into()],
///     correlation_id: String::new(),
///     causation_id: String::new(),
/// };
/// let append = Append {
///     stream: StreamName::new("orders-1").unwrap(),
///     expected: ExpectedRevision::NoStream,
///     events: vec![placed],
/// };
/// assert_eq!(append.expected.to_string(), "no_stream");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream to append to.
    pub stream: StreamName,
    /// The condition on the stream.
    pub expected: ExpectedRevision,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// End of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// No event yet.
    Empty,
    /// The last event's revision.
    At(Revision),
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::At(r) => fmt::Display::fmt(r, f),
        }
    }
}

/// Revisions and positions of an accepted batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Revision of the last event.
    pub last_revision: Revision,
    /// Position of the first event.
    pub first_position: Position,
    /// Position of the last event.
    pub last_position: Position,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// True if the same batch had been appended before: the fields are those of the first append.
    pub repeated: bool,
}

/// Reason why a batch was refused. Part of the replicated outcome, and so the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The stream is in another state than the append expects.
    #[error("stream {stream} is at {actual}, expected {expected}")]
    WrongRevision {
        /// The stream.
        stream: StreamName,
        /// The state that the append expects.
        expected: ExpectedRevision,
        /// The end of the stream.
        actual: Tail,
    },
    /// Revisions or positions would leave their range.
    #[error("stream {stream} is full")]
    StreamFull {
        /// The stream.
        stream: StreamName,
    },
    /// The first id was appended before, but the batch differs from what was appended then.
    #[error("event id {id} was appended to {stream} before, in another batch")]
    IdReused {
        /// The stream.
        stream: StreamName,
        /// The id of the first event.
        id: EventId,
    },
    /// The store is closed (retained or being removed).
    #[error("the store is closed")]
    Closed,
}

/// Outcome of one append.
pub type Outcome = Result<Appended, Rejected>;
