//! An append and its outcome.

use crate::{
    event::NewEvent,
    ids::{Position, Revision},
    names::StreamName,
};
use std::fmt;

/// The state a stream must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRevision {
    /// Whatever it is.
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

/// One atomic batch for one stream. Never empty; sizes were checked at the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub stream: StreamName,
    /// On what condition.
    pub expected: ExpectedRevision,
    /// What, in order.
    pub events: Vec<NewEvent>,
}

/// Where a stream ends.
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

/// Where an accepted batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the first event.
    pub first_revision: Revision,
    /// Of the last event.
    pub last_revision: Revision,
    /// Of the first event.
    pub first_position: Position,
    /// Of the last event.
    pub last_position: Position,
    /// Unix time, microseconds.
    pub recorded_at_us: u64,
    /// The same ids had been appended before; this is that answer.
    pub repeated: bool,
}

/// Why apply refused a batch. Part of the replicated outcome: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The stream is not where the append expects it.
    #[error("stream {stream} is at {actual}, expected {expected}")]
    WrongRevision {
        /// The stream.
        stream: StreamName,
        /// What was asked for.
        expected: ExpectedRevision,
        /// What is.
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
        /// The id.
        id: crate::ids::EventId,
    },
    /// The store is closed (retained or being removed).
    #[error("the store is closed")]
    Closed,
}

/// What apply answers to one append.
pub type Outcome = Result<Appended, Rejected>;
