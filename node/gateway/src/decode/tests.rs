//! Tests of the decoding of requests.

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
    let request = v1::AppendRequest { stream: stream.into(), events, ..v1::AppendRequest::default() };
    append(&config(), request).map(|_| ()).unwrap_err().reason()
}

#[test]
fn a_good_append_decodes() {
    let events = vec![event(1, "x"), event(2, "y")];
    let request = v1::AppendRequest { stream: "s".into(), events, ..v1::AppendRequest::default() };
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
    assert_eq!(rule("s", vec![v1::NewEvent { tags: vec!["t".into(); 17], ..event(1, "x") }]), Reason::InvalidArgument);
    assert_eq!(rule("s", vec![event(1, "123456789")]), Reason::EventTooLarge);
    assert_eq!(rule("s", vec![event(1, "1234567"), event(2, "1234567")]), Reason::BatchTooLarge);
}

#[test]
fn revisions_are_for_streams_and_positions_for_all() {
    let stream = v1::Selector { kind: Some(v1::selector::Kind::Stream("s".into())) };
    let all = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    let with = |selector: &v1::Selector, kind| v1::ReadRequest {
        selector: Some(selector.clone()),
        start: Some(v1::Start::from(kind)),
        ..Default::default()
    };
    use StartKind as S;
    assert!(read(&with(&stream, S::FromRevision(3))).is_ok());
    assert!(read(&with(&stream, S::FromPosition(3))).is_err());
    assert!(read(&with(&all, S::FromRevision(3))).is_err());
    assert!(read(&with(&all, S::AfterPosition(u64::MAX))).is_err());
    assert_eq!(
        read(&with(&all, S::AfterPosition(3))).unwrap().source,
        Source::All(Start::At(Position::new(4).unwrap()))
    );
    let backward = |start| v1::ReadRequest { direction: v1::Direction::Backward.into(), ..with(&stream, start) };
    assert_eq!(
        read(&backward(S::AfterRevision(3))).unwrap().source,
        Source::Stream(StreamName::new("s").unwrap(), Start::At(Revision::new(2).unwrap()))
    );
    assert!(read(&backward(S::AfterRevision(0))).is_err());
    assert!(read(&v1::ReadRequest::default()).is_err());
}

fn decoded(change: impl FnOnce(&mut v1::NewEvent)) -> Result<NewEvent, (&'static str, Problem)> {
    let mut event = event(1, "x");
    change(&mut event);
    let field = |problem: &Problem| {
        [
            "events.id",
            "events.tags",
            "events.content_type",
            "events.correlation_id",
            "events.causation_id",
            "type",
            "events.occurred_at",
        ]
        .into_iter()
        .find(|field| problem.to_string().starts_with(&format!("{field}: ")))
    };
    super::event(&config(), event).map_err(|problem| (field(&problem).unwrap_or(""), problem))
}

#[test]
fn only_an_absent_expectation_means_any_state() {
    assert_eq!(expected(None).unwrap(), ExpectedRevision::Any);
    let problem = expected(Some(v1::ExpectedRevision { kind: None })).unwrap_err();
    assert!(problem.to_string().starts_with("expected: "), "{problem}");
}

#[test]
fn unknown_values_and_kinds_of_a_read_are_refused() {
    let selector = Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) });
    let good = v1::ReadRequest { selector, ..v1::ReadRequest::default() };
    assert!(read(&good).is_ok() && consistency(&good).is_ok());
    let names = |problem: Problem, field: &str| assert!(problem.to_string().starts_with(field), "{problem}");
    names(read(&v1::ReadRequest { direction: 3, ..good.clone() }).unwrap_err(), "direction: ");
    names(consistency(&v1::ReadRequest { consistency: -1, ..good.clone() }).unwrap_err(), "consistency: ");
    names(read(&v1::ReadRequest { start: Some(v1::Start::default()), ..good.clone() }).unwrap_err(), "start: ");
    names(read(&v1::ReadRequest { selector: Some(v1::Selector::default()), ..good }).unwrap_err(), "selector: ");
}

#[test]
fn fields_of_a_feature_need_its_number() {
    let all = Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) });
    let stream = Some(v1::Selector { kind: Some(v1::selector::Kind::Stream("s".into())) });
    let plain = v1::ReadRequest { selector: all.clone(), ..v1::ReadRequest::default() };
    let names = |problem: Problem, field: &str| assert!(problem.to_string().starts_with(field), "{problem}");

    let system = v1::ReadRequest { include_system: true, ..plain.clone() };
    names(read(&system).unwrap_err(), "include_system: ");
    let system = v1::ReadRequest { needs: vec![features::INCLUDE_SYSTEM], ..system };
    assert!(read(&system).unwrap().include_system && !read(&plain).unwrap().include_system);
    assert_ne!(read(&system).unwrap().selector, read(&plain).unwrap().selector, "a token is for one of the two");
    names(read(&v1::ReadRequest { selector: stream, ..system }).unwrap_err(), "include_system: ");
    let follow = v1::SubscribeRequest { selector: all, include_system: true, ..v1::SubscribeRequest::default() };
    names(subscribe(&follow).unwrap_err(), "include_system: ");
    assert!(subscribe(&v1::SubscribeRequest { needs: vec![features::INCLUDE_SYSTEM], ..follow }).is_ok());

    let at_least = v1::ReadRequest { at_least_position: Some(7), ..plain };
    names(consistency(&at_least).unwrap_err(), "at_least_position: ");
    let at_least = v1::ReadRequest { needs: vec![features::AT_LEAST_POSITION], ..at_least };
    assert_eq!(consistency(&at_least).unwrap(), Consistency::AtLeast(Position::new(7).unwrap()));
    let beyond = v1::ReadRequest { at_least_position: Some(u64::MAX), ..at_least.clone() };
    names(consistency(&beyond).unwrap_err(), "at_least_position: ");
    let stale = v1::ReadRequest { consistency: v1::Consistency::Stale.into(), ..at_least };
    names(consistency(&stale).unwrap_err(), "consistency: ");
}

#[test]
fn ids_are_compared_as_uuids() {
    let upper = decoded(|e| e.id = "6F9B1A52-2B1C-4D6F-9C57-3B9D1F2A7C10".into()).unwrap();
    assert_eq!(upper.id.to_string(), "6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10");
    for other in [
        "6f9b1a522b1c4d6f9c573b9d1f2a7c10",
        "{6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10}",
        "urn:uuid:6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10",
        "",
    ] {
        assert_eq!(decoded(|e| e.id = other.into()).unwrap_err().0, "events.id", "{other}");
    }
    let long = decoded(|e| e.id = "x".repeat(10_000)).unwrap_err().1;
    assert!(long.to_string().len() < 200, "a long id is repeated in the error");
    let twins = [1, 1].map(|n| event(n, "x"));
    let [first, second] = twins.map(|e| e.id);
    let events =
        vec![v1::NewEvent { id: first.to_uppercase(), ..event(1, "x") }, v1::NewEvent { id: second, ..event(1, "x") }];
    assert_eq!(rule("s", events), Reason::InvalidArgument);
}

#[test]
fn tags_are_a_sorted_set() {
    let event = decoded(|e| e.tags = ["b", "a", "b", "é"].map(String::from).to_vec()).unwrap();
    assert_eq!(event.tags, ["a", "b", "é"]);
}

#[test]
fn short_texts_hold_no_control_characters() {
    for bad in ["a\nb", "\u{0}", "a\u{7f}", "\u{85}"] {
        assert_eq!(decoded(|e| e.tags = vec![bad.into()]).unwrap_err().0, "events.tags", "{bad:?}");
        assert_eq!(decoded(|e| e.content_type = bad.into()).unwrap_err().0, "events.content_type", "{bad:?}");
        assert_eq!(decoded(|e| e.correlation_id = bad.into()).unwrap_err().0, "events.correlation_id", "{bad:?}");
        assert_eq!(decoded(|e| e.causation_id = bad.into()).unwrap_err().0, "events.causation_id", "{bad:?}");
        assert_eq!(decoded(|e| e.r#type = bad.into()).unwrap_err().0, "type", "{bad:?}");
    }
    assert!(decoded(|e| e.correlation_id = "Größe 1".into()).is_ok());
}

#[test]
fn the_time_of_the_application_is_kept_in_microseconds() {
    let at = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
    let occurred = |time| decoded(|e| e.occurred_at = Some(time));
    assert_eq!(decoded(|_| ()).unwrap().occurred_at_us, None);
    assert_eq!(occurred(at(1, 2_999)).unwrap().occurred_at_us, Some(1_000_002));
    // Half a second before 1970.
    assert_eq!(occurred(at(-1, 500_000_000)).unwrap().occurred_at_us, Some(-500_000));
    for bad in [at(0, -1), at(0, 1_000_000_000), at(253_402_300_800, 0), at(-62_135_596_801, 0), at(i64::MAX, 0)] {
        assert_eq!(occurred(bad).unwrap_err().0, "events.occurred_at", "{bad:?}");
    }
}
