//! Conversion from requests of the wire to domain types. Every field is validated once, in this file; an error names
//! the field and the rule.

use super::{
    GatewayConfig, features,
    resume::{self, ResumeToken},
    status::{Problem, Reason},
};
use std::{collections::BTreeSet, ops::RangeInclusive};
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::{EventId, Position, Revision, StoreId},
    limits::{BATCH_EVENTS_MAX, SHORT_TEXT_BYTES_MAX, TAGS_MAX},
    names::{EventType, StreamName},
};
use taffrail_proto::v1::{self, selector::Kind as SelectorKind, start::Kind as StartKind};
use taffrail_store_api::{Consistency, Direction};

/// Length of a UUID as text with four dashes.
const UUID_CHARACTERS: usize = 36;
/// Seconds since 1970 of the years 1 to 9999, the range of `google.protobuf.Timestamp`.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Decodes and validates an append.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule; `EVENT_TOO_LARGE` or `BATCH_TOO_LARGE`.
pub(crate) fn append(config: &GatewayConfig, request: v1::AppendRequest) -> Result<Append, Problem> {
    features::check(&request.needs)?;
    let stream = StreamName::new(&request.stream)?;
    if stream.is_system() {
        return Err(Problem::field("stream", "must not start with `$`; such names are reserved for the store"));
    }
    let expected = expected(request.expected)?;
    if request.events.is_empty() {
        return Err(Problem::field("events", "must not be empty"));
    }
    if request.events.len() > BATCH_EVENTS_MAX {
        let rule = format!("must be at most {BATCH_EVENTS_MAX} events, is {}", request.events.len());
        return Err(Problem::field("events", rule));
    }
    let (mut ids, mut bytes, mut events) = (BTreeSet::new(), 0_usize, Vec::with_capacity(request.events.len()));
    for event in request.events {
        let event = self::event(config, event)?;
        if !ids.insert(event.id) {
            return Err(Problem::field("events.id", format!("{} occurs twice in the batch", event.id)));
        }
        bytes += event.size();
        events.push(event);
    }
    if bytes > config.batch_bytes_max {
        let message = format!("the batch has {bytes} bytes, at most {} are allowed", config.batch_bytes_max);
        return Err(Problem::new(Reason::BatchTooLarge, message)
            .with("field", "events")
            .with("bytes", bytes)
            .with("bytes_max", config.batch_bytes_max));
    }
    Ok(Append { stream, expected, events })
}

/// Decodes the expected state of the stream. Only an absent message means any state; a message without a kind that this
/// node knows would otherwise widen the append.
fn expected(expected: Option<v1::ExpectedRevision>) -> Result<ExpectedRevision, Problem> {
    use v1::expected_revision::Kind;
    let Some(expected) = expected else { return Ok(ExpectedRevision::Any) };
    Ok(match expected.kind {
        Some(Kind::Any(_)) => ExpectedRevision::Any,
        Some(Kind::NoStream(_)) => ExpectedRevision::NoStream,
        Some(Kind::StreamExists(_)) => ExpectedRevision::StreamExists,
        Some(Kind::Exact(r)) => ExpectedRevision::Exact(revision("expected.exact", r)?),
        None => {
            return Err(Problem::field("expected", "must have one of the kinds that this node knows, or be absent"));
        }
    })
}

fn event(config: &GatewayConfig, e: v1::NewEvent) -> Result<NewEvent, Problem> {
    let id = event_id(&e.id)?;
    short("events.content_type", &e.content_type)?;
    short("events.correlation_id", &e.correlation_id)?;
    short("events.causation_id", &e.causation_id)?;
    let event = NewEvent {
        id,
        event_type: EventType::new(&e.r#type)?,
        content_type: e.content_type,
        data: e.data,
        metadata: e.metadata,
        tags: tags(e.tags)?,
        correlation_id: e.correlation_id,
        causation_id: e.causation_id,
        occurred_at_us: e.occurred_at.map(occurred_at).transpose()?,
    };
    if event.size() > config.event_bytes_max {
        let message = format!("event {id} has {} bytes, at most {} are allowed", event.size(), config.event_bytes_max);
        return Err(Problem::new(Reason::EventTooLarge, message)
            .with("field", "events.data")
            .with("bytes", event.size())
            .with("bytes_max", config.event_bytes_max));
    }
    Ok(event)
}

/// Decodes the id of an event: only the form of 36 characters, in any case. Stored as bytes and returned in lower case.
fn event_id(text: &str) -> Result<EventId, Problem> {
    // The text may be long, so the error does not repeat the text.
    let rule = "must be a UUID of the form 67e55044-10b1-426f-9247-bb680e5fe0c8";
    let id = text.parse::<EventId>().ok().filter(|_| text.len() == UUID_CHARACTERS);
    let id = id.ok_or_else(|| Problem::field("events.id", rule))?;
    if id.uuid().is_nil() {
        return Err(Problem::field("events.id", "must not be the nil UUID"));
    }
    Ok(id)
}

/// Checks, sorts and deduplicates tags: stored tags are indexed, and a set has a single form.
fn tags(mut tags: Vec<String>) -> Result<Vec<String>, Problem> {
    const FIELD: &str = "events.tags";
    if tags.len() > TAGS_MAX {
        return Err(Problem::field(FIELD, format!("must be at most {TAGS_MAX} tags, is {}", tags.len())));
    }
    for tag in &tags {
        if tag.is_empty() {
            return Err(Problem::field(FIELD, "must not be empty"));
        }
        short(FIELD, tag)?;
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

/// Decodes a time of the application to microseconds since 1970; further digits are cut off.
fn occurred_at(at: prost_types::Timestamp) -> Result<i64, Problem> {
    const FIELD: &str = "events.occurred_at";
    if !TIMESTAMP_SECONDS.contains(&at.seconds) {
        return Err(Problem::field(FIELD, "must be a time of the years 1 to 9999"));
    }
    if !(0..1_000_000_000).contains(&at.nanos) {
        return Err(Problem::field(FIELD, "nanos must be from 0 to 999999999"));
    }
    Ok(at.seconds * 1_000_000 + i64::from(at.nanos / 1000))
}

fn short(field: &'static str, text: &str) -> Result<(), Problem> {
    if text.len() > SHORT_TEXT_BYTES_MAX {
        let rule = format!("must be at most {SHORT_TEXT_BYTES_MAX} bytes, is {}", text.len());
        return Err(Problem::field(field, rule));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::field(field, "must not hold control characters"));
    }
    Ok(())
}

/// The start of a read or subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start<At> {
    /// Before the first event.
    Beginning,
    /// After the last event.
    End,
    /// At a revision or position, inclusive.
    At(At),
}

/// The selected events and the start of a read or subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The events of a stream.
    Stream(StreamName, Start<Revision>),
    /// All events of the store.
    All(Start<Position>),
}

/// The decoded selector and start of a read or subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The selected events and the start.
    pub(crate) source: Source,
    /// The direction of a read; forward for a subscription.
    pub(crate) direction: Direction,
    /// The store from which the caller took the start, if given.
    pub(crate) store: Option<StoreId>,
    /// Hash of the selector, for resume tokens.
    pub(crate) selector: u64,
    /// True if a selection of all streams includes the streams of the store itself.
    pub(crate) include_system: bool,
}

/// Decodes the selector, start and direction of a read.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule; the refusal of a resume token.
pub(crate) fn read(request: &v1::ReadRequest) -> Result<Selection, Problem> {
    features::check(&request.needs)?;
    let direction = match known::<v1::Direction>("direction", request.direction)? {
        v1::Direction::Unspecified | v1::Direction::Forward => Direction::Forward,
        v1::Direction::Backward => Direction::Backward,
    };
    let include_system = include_system(&request.needs, request.include_system)?;
    selection(request.selector.as_ref(), request.start.as_ref(), direction, include_system)
}

/// Decodes the selector and start of a subscription.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule; the refusal of a resume token.
pub(crate) fn subscribe(request: &v1::SubscribeRequest) -> Result<Selection, Problem> {
    features::check(&request.needs)?;
    let include_system = include_system(&request.needs, request.include_system)?;
    selection(request.selector.as_ref(), request.start.as_ref(), Direction::Forward, include_system)
}

const INCLUDE_SYSTEM: &str = "include_system";

fn include_system(needs: &[u32], include_system: bool) -> Result<bool, Problem> {
    if include_system {
        features::require(needs, features::INCLUDE_SYSTEM, INCLUDE_SYSTEM)?;
    }
    Ok(include_system)
}

fn selection(
    selector: Option<&v1::Selector>,
    start: Option<&v1::Start>,
    direction: Direction,
    include_system: bool,
) -> Result<Selection, Problem> {
    let no_selector = || Problem::field("selector", "must be a stream or `all`");
    let (selector, kind) = selector.and_then(|s| Some((s, s.kind.as_ref()?))).ok_or_else(no_selector)?;
    if include_system && !matches!(kind, SelectorKind::All(_)) {
        return Err(Problem::field(INCLUDE_SYSTEM, "requires the selector `all`"));
    }
    let hash = resume::selector_hash(selector, include_system);
    let kind_of_start = self::start(start)?.unwrap_or(match direction {
        Direction::Forward => StartKind::FromStart(v1::Unit {}),
        Direction::Backward => StartKind::FromEnd(v1::Unit {}),
    });
    let mut store = store_id(start)?;
    if let StartKind::Resume(bytes) = &kind_of_start {
        let token = ResumeToken::decode(bytes)?;
        token.check(hash)?;
        if *store.get_or_insert(token.store) != token.store {
            return Err(Problem::field("start.store_id", "must be the store of the resume token, or empty"));
        }
    }
    let source = source(kind, &kind_of_start, direction)?;
    Ok(Selection { source, direction, store, selector: hash, include_system })
}

/// Decodes the consistency of a read.
///
/// # Errors
/// `INVALID_ARGUMENT` for a value that this node does not know, and for a consistency beside `at_least_position`.
pub(crate) fn consistency(request: &v1::ReadRequest) -> Result<Consistency, Problem> {
    const AT_LEAST: &str = "at_least_position";
    let asked = known::<v1::Consistency>("consistency", request.consistency)?;
    if let Some(at_least) = request.at_least_position {
        features::require(&request.needs, features::AT_LEAST_POSITION, AT_LEAST)?;
        if asked != v1::Consistency::Unspecified {
            return Err(Problem::field("consistency", "must be absent beside `at_least_position`"));
        }
        return position(AT_LEAST, at_least).map(Consistency::AtLeast);
    }
    Ok(match asked {
        v1::Consistency::Unspecified | v1::Consistency::Linearizable => Consistency::Linearizable,
        v1::Consistency::Stale => Consistency::Stale,
    })
}

/// Decodes a value of an enum. The generated getters turn an unknown value into the default, which would widen the call.
fn known<E: TryFrom<i32>>(field: &'static str, value: i32) -> Result<E, Problem> {
    let rule = || format!("must be a value that this node knows, is {value}");
    E::try_from(value).map_err(|_| Problem::field(field, rule()))
}

/// Returns the kind of a start; `None` without a start.
fn start(start: Option<&v1::Start>) -> Result<Option<StartKind>, Problem> {
    let Some(start) = start else { return Ok(None) };
    let rule = "must have one of the kinds that this node knows, or be absent";
    start.kind.clone().map(Some).ok_or_else(|| Problem::field("start", rule))
}

/// Decodes the id of the store from which the caller took the start of a read or subscription; `None` if not given.
fn store_id(start: Option<&v1::Start>) -> Result<Option<StoreId>, Problem> {
    let text = start.map_or("", |start| start.store_id.as_str());
    if text.is_empty() {
        return Ok(None);
    }
    let rule = "must be the id of a store, a UUID";
    text.parse().map(Some).map_err(|_| Problem::field("start.store_id", rule))
}

fn source(selector: &SelectorKind, start: &StartKind, direction: Direction) -> Result<Source, Problem> {
    use StartKind as S;
    let stream_only = |field| Err(Problem::field(field, "requires a stream as selector; `all` has positions"));
    let all_only = |field| Err(Problem::field(field, "requires the selector `all`; a stream has revisions"));
    match selector {
        SelectorKind::Stream(name) => {
            let stream = StreamName::new(name)?;
            let start = match start {
                S::FromStart(_) => Start::Beginning,
                S::FromEnd(_) => Start::End,
                S::FromRevision(r) => Start::At(revision("start.from_revision", *r)?),
                S::AfterRevision(r) => after_revision(*r, direction)?,
                S::FromPosition(_) => return all_only("start.from_position"),
                S::AfterPosition(_) => return all_only("start.after_position"),
                S::Resume(bytes) => resumed_revision(&ResumeToken::decode(bytes)?, direction)?,
            };
            Ok(Source::Stream(stream, start))
        }
        SelectorKind::All(_) => Ok(Source::All(match start {
            S::FromStart(_) => Start::Beginning,
            S::FromEnd(_) => Start::End,
            S::FromPosition(p) => Start::At(position("start.from_position", *p)?),
            S::AfterPosition(p) => after_position(*p, direction)?,
            S::FromRevision(_) => return stream_only("start.from_revision"),
            S::AfterRevision(_) => return stream_only("start.after_revision"),
            S::Resume(bytes) => resumed_position(&ResumeToken::decode(bytes)?, direction)?,
        })),
    }
}

/// Decodes an exclusive start. The number is exclusive in the direction of the read.
fn after_revision(r: u64, direction: Direction) -> Result<Start<Revision>, Problem> {
    const FIELD: &str = "start.after_revision";
    revision(FIELD, r)?;
    Ok(Start::At(match direction {
        Direction::Forward => revision(FIELD, r.saturating_add(1))?,
        Direction::Backward => {
            let before = r.checked_sub(1).ok_or_else(|| Problem::field(FIELD, "has no revision before 0"))?;
            revision(FIELD, before)?
        }
    }))
}

/// Decodes an exclusive start. The number is exclusive in the direction of the read.
fn after_position(p: u64, direction: Direction) -> Result<Start<Position>, Problem> {
    const FIELD: &str = "start.after_position";
    position(FIELD, p)?;
    Ok(Start::At(match direction {
        Direction::Forward => position(FIELD, p.saturating_add(1))?,
        Direction::Backward => position(FIELD, p.saturating_sub(1))?,
    }))
}

/// Decodes a start after the point of a token, in the direction of the call.
fn resumed_revision(token: &ResumeToken, direction: Direction) -> Result<Start<Revision>, Problem> {
    const FIELD: &str = "start.resume";
    let none_before = || Problem::field(FIELD, "has no revision before the token");
    let next = match direction {
        Direction::Forward => token.ordinal,
        // The ordinal is the last revision plus 1.
        Direction::Backward => token.ordinal.checked_sub(2).ok_or_else(none_before)?,
    };
    Ok(Start::At(revision(FIELD, next)?))
}

/// Decodes a start after the point of a token, in the direction of the call.
fn resumed_position(token: &ResumeToken, direction: Direction) -> Result<Start<Position>, Problem> {
    let next = match direction {
        Direction::Forward => token.position.saturating_add(1),
        Direction::Backward => token.position.saturating_sub(1),
    };
    Ok(Start::At(position("start.resume", next)?))
}

fn revision(field: &'static str, r: u64) -> Result<Revision, Problem> {
    Revision::new(r).ok_or_else(|| Problem::field(field, format!("must be at most {}", Revision::MAX)))
}

fn position(field: &'static str, p: u64) -> Result<Position, Problem> {
    Position::new(p).ok_or_else(|| Problem::field(field, format!("must be at most {}", Position::MAX)))
}

#[cfg(test)]
mod tests;
