//! The events that every side works on: 256 bytes each, half of them random, spread over 64 streams. The same in every run.

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

/// Payload of one event.
pub const EVENT_BYTES: usize = 256;
/// Streams that the events are spread over.
pub const STREAMS: u64 = 64;
/// Appends that are merged into one log entry, as they are when as many writers wait.
pub const MERGED: u64 = 64;
/// Events of the whole corpus.
pub const EVENTS: u64 = 51_200;
/// Proposer's clock of the first append: any day will do, but the same in every run.
const START_US: u64 = 1_767_225_600_000_000;

/// Mixes bits (splitmix64): random enough that nothing compresses.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The payload of the n-th event: its first half random, its second half always the same.
pub fn payload(n: u64) -> Bytes {
    let mut out = Vec::with_capacity(EVENT_BYTES);
    for word in 0..EVENT_BYTES as u64 / 16 {
        out.extend_from_slice(&mix(n * 64 + word).to_be_bytes());
    }
    out.resize(EVENT_BYTES, b'x');
    out.into()
}

/// The name of the n-th stream.
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
    }
}

/// The `number`-th command of `merged` appends of `events` events each.
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

/// Appends of one event.
pub fn single_events() -> Vec<Command> {
    commands(MERGED, 1)
}

/// One append of one event.
pub fn one_append() -> Command {
    command(0, 1, 1)
}

/// Appends of a hundred events.
pub fn hundreds() -> Vec<Command> {
    commands(4, 100)
}

/// An entry of a log.
pub fn entry(index: u64, command: Bytes) -> Entry {
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    Entry { log_id, payload: Payload::Normal(Encoded(command)) }
}

/// The commands as a log.
pub fn entries(commands: &[Command]) -> Vec<Entry> {
    (0..).zip(commands).map(|(index, command)| entry(index, codec::encode_command(command))).collect()
}
