//! Appends to a stream, and the outcomes of appends.

use crate::{
    event::NewEvent,
    ids::{EventId, Position, Revision},
    names::StreamName,
};
use std::fmt;

/// Condition on the state of a stream for an append to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// The append is accepted in any state of the stream.
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

/// A batch of events for one stream, stored whole or not at all. Never empty; the gateway checks the sizes.
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
///     occurred_at_us: None,
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
    /// Stream to append to.
    pub stream: StreamName,
    /// Condition on the state of the stream.
    pub expected: ExpectedRevision,
    /// Events of the batch, in order.
    pub events: Vec<NewEvent>,
}

/// Revision of a stream's last event, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The stream has no event.
    Empty,
    /// Revision of the last event.
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
    /// True if the append repeats an earlier append. All other fields then describe the earlier append.
    pub repeated: bool,
}

/// Reason why a batch was refused. Part of the replicated outcome, and therefore equal on every replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The stream is not in the expected state.
    #[error("stream {stream} is at {actual}, expected {expected}")]
    WrongRevision {
        /// Stream of the append.
        stream: StreamName,
        /// Condition of the append.
        expected: ExpectedRevision,
        /// Last revision of the stream.
        actual: Tail,
    },
    /// A revision or position of the batch would exceed its maximum.
    #[error("stream {stream} is full")]
    StreamFull {
        /// Stream of the append.
        stream: StreamName,
    },
    /// The id of the first event was appended before, in a batch with other ids.
    #[error("event id {id} was appended to {stream} before, in another batch")]
    IdReused {
        /// Stream of the append.
        stream: StreamName,
        /// Id of the first event.
        id: EventId,
    },
    /// The store is closed (retained or being removed).
    #[error("the store is closed")]
    Closed,
    /// The append was proposed under rules that are not in force yet.
    #[error("the append was proposed under rules {rules}, but rules {in_force} are in force")]
    UpgradePending {
        /// Number of the rules of the command.
        rules: u32,
        /// Number of the rules in force.
        in_force: u32,
    },
}

/// Outcome of an append.
pub type Outcome = Result<Appended, Rejected>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_expected_and_the_actual_revision() {
        let refusal = |expected, actual| {
            let stream = StreamName::new("orders-1").unwrap();
            Rejected::WrongRevision { stream, expected, actual }.to_string()
        };
        let seven = Revision::new(7).unwrap();
        let texts = [
            refusal(ExpectedRevision::Any, Tail::Empty),
            refusal(ExpectedRevision::NoStream, Tail::At(seven)),
            refusal(ExpectedRevision::StreamExists, Tail::Empty),
            refusal(ExpectedRevision::Exact(seven), Tail::Empty),
        ];
        let expected =
            ["empty, expected any", "7, expected no_stream", "empty, expected stream_exists", "empty, expected 7"];
        assert_eq!(texts, expected.map(|text| format!("stream orders-1 is at {text}")));
    }
}
