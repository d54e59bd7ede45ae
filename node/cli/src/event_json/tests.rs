//! Tests of the encoding and decoding of events.

use super::*;

fn recorded() -> v1::RecordedEvent {
    v1::RecordedEvent {
        id: "6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10".into(),
        stream: "orders-1".into(),
        revision: 3,
        position: 42,
        r#type: "Placed".into(),
        content_type: JSON.into(),
        data: Bytes::from_static(b"{ \"total\": 12345678901234567890123, \"b\": 1.10 }"),
        recorded_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_000 }),
        ..v1::RecordedEvent::default()
    }
}

#[test]
fn an_event_has_the_fixed_form() {
    assert_eq!(
        encode(&recorded()),
        "{\"stream\":\"orders-1\",\"revision\":3,\"position\":42,\"id\":\"6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10\",\
         \"type\":\"Placed\",\"content_type\":\"application/json\",\"data\":{\"total\":12345678901234567890123,\"b\":1.10},\
         \"metadata\":null,\"recorded_at\":\"2023-11-14T22:13:20.123456Z\"}"
    );
}

#[test]
fn optional_fields_have_a_fixed_place() {
    let event = v1::RecordedEvent {
        stream: "a\"\u{1}/é".into(),
        content_type: String::new(),
        data: Bytes::new(),
        metadata: Bytes::from_static(b"\xff"),
        tags: vec!["t".into(), "\n".into()],
        correlation_id: "c".into(),
        causation_id: "d".into(),
        occurred_at: Some(prost_types::Timestamp { seconds: -1, nanos: 500_000_000 }),
        recorded_at: None,
        ..recorded()
    };
    assert_eq!(
        encode(&event),
        "{\"stream\":\"a\\\"\\u0001/é\",\"revision\":3,\"position\":42,\"id\":\"6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10\",\
         \"type\":\"Placed\",\"content_type\":\"\",\"data\":\"\",\"data_encoding\":\"base64\",\
         \"metadata\":\"/w==\",\"metadata_encoding\":\"base64\",\"tags\":[\"t\",\"\\n\"],\"correlation_id\":\"c\",\
         \"causation_id\":\"d\",\"occurred_at\":\"1969-12-31T23:59:59.500000Z\",\"recorded_at\":\"\"}"
    );
}

#[test]
fn the_last_of_repeated_fields_counts() {
    let event = decode("{\"type\":\"A\",\"data\":1,\"type\":\"B\",\"data\":2.0}", &Defaults::default()).unwrap();
    assert_eq!((event.r#type.as_str(), &event.data[..]), ("B", &b"2.0"[..]));
}

#[test]
fn what_is_no_json_is_base64() {
    let event = v1::RecordedEvent { content_type: "text/plain".into(), data: Bytes::from_static(b"hi"), ..recorded() };
    assert!(encode(&event).contains("\"data\":\"aGk=\",\"data_encoding\":\"base64\""));
    let broken = v1::RecordedEvent { data: Bytes::from_static(b"{"), ..recorded() };
    assert!(encode(&broken).contains("\"data\":\"ew==\",\"data_encoding\":\"base64\""));
}

#[test]
fn what_read_prints_append_takes() {
    for (content_type, data) in [(JSON, &b"{\"a\":1}"[..]), ("text/plain", b"\xff\x00"), ("", b""), (JSON, b"null")] {
        let event = v1::RecordedEvent {
            content_type: content_type.into(),
            data: Bytes::from_static(data),
            metadata: Bytes::from_static(b"{\"user\":\"x\"}"),
            tags: vec!["t".into()],
            correlation_id: "c".into(),
            occurred_at: Some(prost_types::Timestamp { seconds: -1, nanos: 500_000_000 }),
            ..recorded()
        };
        let back = decode(&encode(&event), &Defaults::default()).unwrap();
        assert_eq!(
            (&back.id, &back.r#type, &back.data, &back.metadata),
            (&event.id, &event.r#type, &event.data, &event.metadata)
        );
        assert_eq!(
            (&back.content_type, &back.tags, &back.correlation_id, &back.occurred_at),
            (&event.content_type, &event.tags, &event.correlation_id, &event.occurred_at)
        );
    }
}

#[test]
fn bad_lines_name_the_field() {
    let defaults = Defaults::default();
    let err = |line: &str| decode(line, &defaults).unwrap_err();
    assert_eq!(err("nope"), "is not a JSON object");
    assert_eq!(err("{\"data\":1}"), "type: is missing, and --type is not given");
    assert_eq!(err("{\"type\":1}"), "type: must be a string");
    assert_eq!(err("{\"type\":\"T\",\"typo\":1}"), "typo: unknown field");
    assert_eq!(err("{\"type\":\"T\",\"tags\":\"x\"}"), "tags: must be a list of strings");
    assert!(err("{\"type\":\"T\",\"occurred_at\":\"yesterday\"}").starts_with("occurred_at: "));
    assert!(err("{\"type\":\"T\",\"data\":\"?\",\"data_encoding\":\"base64\"}").starts_with("data: "));
    assert!(err("{\"type\":\"T\",\"data\":\"?\",\"data_encoding\":\"hex\"}").starts_with("data_encoding: "));
}

#[test]
fn a_line_gets_what_it_lacks() {
    let defaults = Defaults { event_type: Some("T".into()), content_type: None };
    let event = decode("{\"data\": {\"a\": 1}}", &defaults).unwrap();
    assert_eq!((event.r#type.as_str(), event.content_type.as_str(), &event.data[..]), ("T", JSON, &b"{\"a\": 1}"[..]));
    assert!(uuid::Uuid::parse_str(&event.id).is_ok());
}
