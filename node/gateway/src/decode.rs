//! Conversion from requests of the wire to domain types. Every field is validated once, in this file; an error names
//! the field and the rule.

use super::{
    GatewayConfig,
    status::{Problem, Reason},
};
use std::collections::BTreeSet;
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::{EventId, Position, Revision},
    limits::{BATCH_EVENTS_MAX, SHORT_TEXT_BYTES_MAX, TAGS_MAX},
    names::{EventType, StreamName},
};
use taffrail_proto::v1;
use taffrail_store_api::Direction;

/// Decodes and validates an append.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule; `EVENT_TOO_LARGE` or `BATCH_TOO_LARGE`.
pub(crate) fn append(config: &GatewayConfig, request: v1::AppendRequest) -> Result<Append, Problem> {
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

fn expected(expected: Option<v1::ExpectedRevision>) -> Result<ExpectedRevision, Problem> {
    use v1::expected_revision::Kind;
    Ok(match expected.and_then(|e| e.kind) {
        None | Some(Kind::Any(_)) => ExpectedRevision::Any,
        Some(Kind::NoStream(_)) => ExpectedRevision::NoStream,
        Some(Kind::StreamExists(_)) => ExpectedRevision::StreamExists,
        Some(Kind::Exact(r)) => ExpectedRevision::Exact(revision("expected.exact", r)?),
    })
}

fn event(config: &GatewayConfig, e: v1::NewEvent) -> Result<NewEvent, Problem> {
    let id: EventId =
        e.id.parse().map_err(|_| Problem::field("events.id", format!("must be a UUID, is {:?}", e.id)))?;
    if id.uuid().is_nil() {
        return Err(Problem::field("events.id", "must not be the nil UUID"));
    }
    short("events.content_type", &e.content_type)?;
    short("events.correlation_id", &e.correlation_id)?;
    short("events.causation_id", &e.causation_id)?;
    if e.tags.len() > TAGS_MAX {
        return Err(Problem::field("events.tags", format!("must be at most {TAGS_MAX} tags, is {}", e.tags.len())));
    }
    for tag in &e.tags {
        if tag.is_empty() {
            return Err(Problem::field("events.tags", "must not be empty"));
        }
        short("events.tags", tag)?;
    }
    let event = NewEvent {
        id,
        event_type: EventType::new(&e.r#type)?,
        content_type: e.content_type,
        data: e.data,
        metadata: e.metadata,
        tags: e.tags,
        correlation_id: e.correlation_id,
        causation_id: e.causation_id,
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

fn short(field: &'static str, text: &str) -> Result<(), Problem> {
    if text.len() > SHORT_TEXT_BYTES_MAX {
        let rule = format!("must be at most {SHORT_TEXT_BYTES_MAX} bytes, is {}", text.len());
        return Err(Problem::field(field, rule));
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

/// Decodes the selector, start and direction of a read.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule.
pub(crate) fn read(request: &v1::ReadRequest) -> Result<(Source, Direction), Problem> {
    use v1::{read_request::Start as Read, subscribe_request::Start as Subscribe};
    let direction = match request.direction() {
        v1::Direction::Unspecified | v1::Direction::Forward => Direction::Forward,
        v1::Direction::Backward => Direction::Backward,
    };
    let default = match direction {
        Direction::Forward => Read::FromStart(v1::Unit {}),
        Direction::Backward => Read::FromEnd(v1::Unit {}),
    };
    // Every start of a read is also a start of a subscription.
    let start = match request.start.unwrap_or(default) {
        Read::FromStart(unit) => Subscribe::FromStart(unit),
        Read::FromEnd(unit) => Subscribe::FromEnd(unit),
        Read::FromRevision(r) => Subscribe::FromRevision(r),
        Read::FromPosition(p) => Subscribe::FromPosition(p),
        Read::AfterPosition(p) => Subscribe::AfterPosition(p),
    };
    Ok((source(request.selector.as_ref(), start)?, direction))
}

/// Decodes the selector and start of a subscription.
///
/// # Errors
/// `INVALID_ARGUMENT` for the first field with a broken rule.
pub(crate) fn subscribe(request: &v1::SubscribeRequest) -> Result<Source, Problem> {
    let start = request.start.unwrap_or(v1::subscribe_request::Start::FromStart(v1::Unit {}));
    source(request.selector.as_ref(), start)
}

fn source(selector: Option<&v1::Selector>, start: v1::subscribe_request::Start) -> Result<Source, Problem> {
    use v1::{selector::Kind, subscribe_request::Start as S};
    let stream_only = |field| Err(Problem::field(field, "requires a stream as selector; `all` has positions"));
    let all_only = |field| Err(Problem::field(field, "requires the selector `all`; a stream has revisions"));
    match selector.and_then(|s| s.kind.as_ref()) {
        None => Err(Problem::field("selector", "must be a stream or `all`")),
        Some(Kind::Stream(name)) => {
            let stream = StreamName::new(name)?;
            let start = match start {
                S::FromStart(_) => Start::Beginning,
                S::FromEnd(_) => Start::End,
                S::FromRevision(r) => Start::At(revision("from_revision", r)?),
                S::AfterRevision(r) => Start::At(after_revision("after_revision", r)?),
                S::FromPosition(_) => return all_only("from_position"),
                S::AfterPosition(_) => return all_only("after_position"),
            };
            Ok(Source::Stream(stream, start))
        }
        Some(Kind::All(_)) => Ok(Source::All(match start {
            S::FromStart(_) => Start::Beginning,
            S::FromEnd(_) => Start::End,
            S::FromPosition(p) => Start::At(position("from_position", p)?),
            S::AfterPosition(p) => Start::At(after_position("after_position", p)?),
            S::FromRevision(_) => return stream_only("from_revision"),
            S::AfterRevision(_) => return stream_only("after_revision"),
        })),
    }
}

fn after_revision(field: &'static str, r: u64) -> Result<Revision, Problem> {
    revision(field, r)?;
    revision(field, r.saturating_add(1))
}

fn after_position(field: &'static str, p: u64) -> Result<Position, Problem> {
    position(field, p)?;
    position(field, p.saturating_add(1))
}

fn revision(field: &'static str, r: u64) -> Result<Revision, Problem> {
    Revision::new(r).ok_or_else(|| Problem::field(field, format!("must be at most {}", Revision::MAX)))
}

fn position(field: &'static str, p: u64) -> Result<Position, Problem> {
    Position::new(p).ok_or_else(|| Problem::field(field, format!("must be at most {}", Position::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GatewayConfig {
        GatewayConfig {
            cluster: "main".into(),
            namespace: "default".into(),
            cluster_domain: "cluster.local".into(),
            domains: vec![],
            default_store: None,
            event_bytes_max: 8,
            batch_bytes_max: 12,
            timeout: std::time::Duration::from_secs(1),
        }
    }

    fn event(n: u128, data: &'static str) -> v1::NewEvent {
        v1::NewEvent {
            id: uuid::Uuid::from_u128(n).to_string(),
            r#type: "T".into(),
            data: data.into(),
            ..Default::default()
        }
    }

    fn rule(stream: &str, events: Vec<v1::NewEvent>) -> Reason {
        let request = v1::AppendRequest { stream: stream.into(), expected: None, events };
        append(&config(), request).map(|_| ()).unwrap_err().reason()
    }

    #[test]
    fn a_good_append_decodes() {
        let request =
            v1::AppendRequest { stream: "s".into(), expected: None, events: vec![event(1, "x"), event(2, "y")] };
        let append = append(&config(), request).unwrap();
        assert_eq!((append.expected, append.events.len()), (ExpectedRevision::Any, 2));
    }

    #[test]
    fn bad_appends_name_their_rule() {
        assert_eq!(rule("s", vec![]), Reason::InvalidArgument);
        assert_eq!(rule("", vec![event(1, "x")]), Reason::InvalidArgument);
        assert_eq!(rule("$all", vec![event(1, "x")]), Reason::InvalidArgument);
        assert_eq!(rule("s", vec![event(1, "x"), event(1, "y")]), Reason::InvalidArgument);
        assert_eq!(rule("s", vec![event(0, "x")]), Reason::InvalidArgument);
        assert_eq!(rule("s", vec![v1::NewEvent { id: "1".into(), ..event(1, "x") }]), Reason::InvalidArgument);
        assert_eq!(rule("s", vec![v1::NewEvent { r#type: String::new(), ..event(1, "x") }]), Reason::InvalidArgument);
        assert_eq!(
            rule("s", vec![v1::NewEvent { tags: vec!["t".into(); 17], ..event(1, "x") }]),
            Reason::InvalidArgument
        );
        assert_eq!(rule("s", vec![event(1, "123456789")]), Reason::EventTooLarge);
        assert_eq!(rule("s", vec![event(1, "1234567"), event(2, "1234567")]), Reason::BatchTooLarge);
    }

    #[test]
    fn revisions_are_for_streams_and_positions_for_all() {
        let stream = v1::Selector { kind: Some(v1::selector::Kind::Stream("s".into())) };
        let all = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
        let with = |selector: &v1::Selector, start| v1::ReadRequest {
            selector: Some(selector.clone()),
            start: Some(start),
            ..Default::default()
        };
        use v1::read_request::Start as S;
        assert!(read(&with(&stream, S::FromRevision(3))).is_ok());
        assert!(read(&with(&stream, S::FromPosition(3))).is_err());
        assert!(read(&with(&all, S::FromRevision(3))).is_err());
        assert!(read(&with(&all, S::AfterPosition(u64::MAX))).is_err());
        assert_eq!(
            read(&with(&all, S::AfterPosition(3))).unwrap().0,
            Source::All(Start::At(Position::new(4).unwrap()))
        );
        assert!(read(&v1::ReadRequest::default()).is_err());
    }
}
