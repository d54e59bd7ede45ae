//! Events for all benchmarks: 256 bytes each, half of them random, spread over 64 streams. Every run uses
//! the same events.

use bytes::Bytes;
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::EventId,
    names::{EventType, NameError, StreamName},
    stream::{Command, Kind, RULES, Stamped},
};
use taffrail_raft::types::{Command as Encoded, Entry, LeaderId, LogId, Payload};
use taffrail_storage::store::codec;
use uuid::Uuid;

/// Payload size of an event in bytes.
pub const EVENT_BYTES: usize = 256;
/// Number of streams.
pub const STREAMS: u64 = 64;
/// Appends merged into a log entry, as with an equal number of waiting writers.
pub const MERGED: u64 = 64;
/// Number of events in the corpus.
pub const EVENTS: u64 = 51_200;
/// Proposer's clock of the first append, in microseconds. The value is arbitrary and equal in every run.
const START_US: u64 = 1_767_225_600_000_000;

/// Mixes the bits of `n` (splitmix64). The result is random enough to be incompressible.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns the payload of the `n`-th event: the first half random, the second half constant.
pub fn payload(n: u64) -> Bytes {
    let mut out = Vec::with_capacity(EVENT_BYTES);
    for word in 0..EVENT_BYTES as u64 / 16 {
        out.extend_from_slice(&mix(n * 64 + word).to_be_bytes());
    }
    out.resize(EVENT_BYTES, b'x');
    out.into()
}

/// Returns the name of the `n`-th stream.
pub fn stream(n: u64) -> Result<StreamName, NameError> {
    StreamName::new(&format!("order-{}", n % STREAMS))
}

fn event(n: u64) -> NewEvent {
    NewEvent {
        id: EventId::new(Uuid::from_u64_pair(mix(n), mix(!n))),
        event_type: EventType::new("OrderPlaced").expect("a short word is a type"),
        content_type: String::new(),
        data: payload(n),
        metadata: Bytes::new(),
        tags: Vec::new(),
        correlation_id: String::new(),
        causation_id: String::new(),
        occurred_at_us: None,
    }
}

/// Returns the `number`-th command: `merged` appends of `events` events each.
fn command(number: u64, merged: u64, events: u64) -> Command {
    let append = |n: u64| Stamped {
        append: Append {
            stream: stream(n).expect("a short word and a number are a stream"),
            expected: ExpectedRevision::Any,
            events: (n * events..(n + 1) * events).map(event).collect(),
        },
        stamp_us: START_US + n,
    };
    Command { rules: RULES, kind: Kind::Appends((number * merged..(number + 1) * merged).map(append).collect()) }
}

fn commands(merged: u64, events: u64) -> Vec<Command> {
    (0..EVENTS / (merged * events)).map(|number| command(number, merged, events)).collect()
}

/// Returns the corpus as appends of one event, [`MERGED`] to a command.
pub fn single_events() -> Vec<Command> {
    commands(MERGED, 1)
}

/// Returns a command with a single append of a single event.
pub fn one_append() -> Command {
    command(0, 1, 1)
}

/// Returns the corpus as appends of 100 events, four to a command.
pub fn hundreds() -> Vec<Command> {
    commands(4, 100)
}

/// Wraps a command in a log entry of term 1.
pub fn entry(index: u64, command: Bytes) -> Entry {
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    Entry { log_id, payload: Payload::Normal(Encoded(command)) }
}

/// Wraps commands in consecutive log entries, starting at index 0.
pub fn entries(commands: &[Command]) -> Vec<Entry> {
    (0..).zip(commands).map(|(index, command)| entry(index, codec::encode_command(command))).collect()
}
