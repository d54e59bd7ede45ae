//! An event as JSON: `stream, revision, position, id, type, content_type, data, metadata, recorded_at`, and `tags`,
//! `correlation_id`, `causation_id` where given. `data` is the JSON value itself, or base64 next to
//! `"data_encoding": "base64"`; `metadata` likewise, `null` when empty. What `read` prints, `append --jsonl` takes.

use super::json_text;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use taffrail_client::v1;

const JSON: &str = "application/json";

/// True for content types whose payload is JSON.
fn says_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(JSON) || kind.to_ascii_lowercase().ends_with("+json")
}

/// RFC 3339 with microseconds.
#[must_use]
pub fn time(at: Option<&prost_types::Timestamp>) -> String {
    at.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok()).map_or_else(String::new, |t| format!("{t:.6}"))
}

/// The fields of a line of JSON, in the order in which they are written.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    revision: u64,
    position: u64,
    id: &'a str,
    r#type: &'a str,
    content_type: &'a str,
    data: Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_encoding: Option<&'static str>,
    metadata: Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    causation_id: &'a str,
    recorded_at: String,
}

/// A payload as a JSON value.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    /// No bytes: `null`.
    Absent,
    /// The payload itself, without white space between tokens.
    Json(Box<RawValue>),
    /// The payload in base64.
    Base64(String),
}

impl Payload {
    /// A payload that is called JSON. Bytes that are not JSON despite the name become base64.
    fn json(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).ok().and_then(json_text::compact).map_or_else(|| Self::base64(bytes), Self::Json)
    }

    fn base64(bytes: &[u8]) -> Self {
        Self::Base64(STANDARD.encode(bytes))
    }

    /// The value of the field `..._encoding` beside the payload.
    fn encoding(&self) -> Option<&'static str> {
        match self {
            Self::Absent | Self::Json(_) => None,
            Self::Base64(_) => Some("base64"),
        }
    }
}

/// Writes an event as one line of JSON.
#[must_use]
pub fn encode(e: &v1::RecordedEvent) -> String {
    let data = if says_json(&e.content_type) { Payload::json(&e.data) } else { Payload::base64(&e.data) };
    let metadata = if e.metadata.is_empty() { Payload::Absent } else { Payload::json(&e.metadata) };
    json_text::line(&Line {
        stream: &e.stream,
        revision: e.revision,
        position: e.position,
        id: &e.id,
        r#type: &e.r#type,
        content_type: &e.content_type,
        data_encoding: data.encoding(),
        data,
        metadata_encoding: metadata.encoding(),
        metadata,
        tags: &e.tags,
        correlation_id: &e.correlation_id,
        causation_id: &e.causation_id,
        recorded_at: time(e.recorded_at.as_ref()),
    })
}

/// What a line lacks.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Event type.
    pub event_type: Option<String>,
    /// MIME type.
    pub content_type: Option<String>,
}

/// One line of `append --jsonl`. What `read` adds of its own (stream, revision, position, recorded_at) is passed over.
///
/// # Errors
/// The field and what is wrong with it.
pub fn decode(line: &str, defaults: &Defaults) -> Result<v1::NewEvent, String> {
    let fields = json_text::fields(line).ok_or("is no JSON object")?;
    let mut event = v1::NewEvent::default();
    let (mut data, mut metadata) = (None, None);
    let (mut data_encoding, mut metadata_encoding) = (None, None);
    let text = |name: &str, value: &str| {
        serde_json::from_str::<Option<String>>(value)
            .map(Option::unwrap_or_default)
            .map_err(|_| format!("{name}: must be a string"))
    };
    for (name, value) in fields {
        match name.as_str() {
            "id" => event.id = text("id", value)?,
            "type" => event.r#type = text("type", value)?,
            "content_type" => event.content_type = text("content_type", value)?,
            "correlation_id" => event.correlation_id = text("correlation_id", value)?,
            "causation_id" => event.causation_id = text("causation_id", value)?,
            "tags" => {
                event.tags = serde_json::from_str(value).map_err(|_| "tags: must be a list of strings".to_owned())?;
            }
            "data" => data = Some(value),
            "metadata" => metadata = Some(value),
            "data_encoding" => data_encoding = Some(text("data_encoding", value)?),
            "metadata_encoding" => metadata_encoding = Some(text("metadata_encoding", value)?),
            "stream" | "revision" | "position" | "recorded_at" => {}
            other => return Err(format!("{other}: unknown field")),
        }
    }
    if event.id.is_empty() {
        event.id = crate::rt::new_uuid().to_string();
    }
    if event.r#type.is_empty() {
        event.r#type = defaults.event_type.clone().ok_or("type: is missing, and there is no --type")?;
    }
    event.data = bytes("data", data, data_encoding.as_deref())?;
    event.metadata = match metadata {
        Some("null") | None => Bytes::new(),
        some => bytes("metadata", some, metadata_encoding.as_deref())?,
    };
    if event.content_type.is_empty() {
        let json = data.is_some() && data_encoding.is_none();
        event.content_type =
            defaults.content_type.clone().unwrap_or_else(|| if json { JSON.to_owned() } else { String::new() });
    }
    Ok(event)
}

fn bytes(name: &str, value: Option<&str>, encoding: Option<&str>) -> Result<Bytes, String> {
    let Some(value) = value else { return Ok(Bytes::new()) };
    match encoding {
        None => Ok(Bytes::copy_from_slice(value.as_bytes())),
        Some("base64") => {
            let text: String = serde_json::from_str(value).map_err(|_| format!("{name}: base64 must be a string"))?;
            STANDARD.decode(text).map(Bytes::from).map_err(|e| format!("{name}: {e}"))
        }
        Some(other) => Err(format!("{name}_encoding: {other:?} is not base64")),
    }
}

#[cfg(test)]
mod tests {
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
            recorded_at: None,
            ..recorded()
        };
        assert_eq!(
            encode(&event),
            "{\"stream\":\"a\\\"\\u0001/é\",\"revision\":3,\"position\":42,\"id\":\"6f9b1a52-2b1c-4d6f-9c57-3b9d1f2a7c10\",\
             \"type\":\"Placed\",\"content_type\":\"\",\"data\":\"\",\"data_encoding\":\"base64\",\
             \"metadata\":\"/w==\",\"metadata_encoding\":\"base64\",\"tags\":[\"t\",\"\\n\"],\"correlation_id\":\"c\",\
             \"causation_id\":\"d\",\"recorded_at\":\"\"}"
        );
    }

    #[test]
    fn the_last_of_repeated_fields_counts() {
        let event = decode("{\"type\":\"A\",\"data\":1,\"type\":\"B\",\"data\":2.0}", &Defaults::default()).unwrap();
        assert_eq!((event.r#type.as_str(), &event.data[..]), ("B", &b"2.0"[..]));
    }

    #[test]
    fn what_is_no_json_is_base64() {
        let event =
            v1::RecordedEvent { content_type: "text/plain".into(), data: Bytes::from_static(b"hi"), ..recorded() };
        assert!(encode(&event).contains("\"data\":\"aGk=\",\"data_encoding\":\"base64\""));
        let broken = v1::RecordedEvent { data: Bytes::from_static(b"{"), ..recorded() };
        assert!(encode(&broken).contains("\"data\":\"ew==\",\"data_encoding\":\"base64\""));
    }

    #[test]
    fn what_read_prints_append_takes() {
        for (content_type, data) in [(JSON, &b"{\"a\":1}"[..]), ("text/plain", b"\xff\x00"), ("", b""), (JSON, b"null")]
        {
            let event = v1::RecordedEvent {
                content_type: content_type.into(),
                data: Bytes::from_static(data),
                metadata: Bytes::from_static(b"{\"user\":\"x\"}"),
                tags: vec!["t".into()],
                correlation_id: "c".into(),
                ..recorded()
            };
            let back = decode(&encode(&event), &Defaults::default()).unwrap();
            assert_eq!(
                (&back.id, &back.r#type, &back.data, &back.metadata),
                (&event.id, &event.r#type, &event.data, &event.metadata)
            );
            assert_eq!(
                (&back.content_type, &back.tags, &back.correlation_id),
                (&event.content_type, &event.tags, &event.correlation_id)
            );
        }
    }

    #[test]
    fn bad_lines_name_the_field() {
        let defaults = Defaults::default();
        let err = |line: &str| decode(line, &defaults).unwrap_err();
        assert_eq!(err("nope"), "is no JSON object");
        assert_eq!(err("{\"data\":1}"), "type: is missing, and there is no --type");
        assert_eq!(err("{\"type\":1}"), "type: must be a string");
        assert_eq!(err("{\"type\":\"T\",\"typo\":1}"), "typo: unknown field");
        assert_eq!(err("{\"type\":\"T\",\"tags\":\"x\"}"), "tags: must be a list of strings");
        assert!(err("{\"type\":\"T\",\"data\":\"?\",\"data_encoding\":\"base64\"}").starts_with("data: "));
        assert!(err("{\"type\":\"T\",\"data\":\"?\",\"data_encoding\":\"hex\"}").starts_with("data_encoding: "));
    }

    #[test]
    fn a_line_gets_what_it_lacks() {
        let defaults = Defaults { event_type: Some("T".into()), content_type: None };
        let event = decode("{\"data\": {\"a\": 1}}", &defaults).unwrap();
        assert_eq!(
            (event.r#type.as_str(), event.content_type.as_str(), &event.data[..]),
            ("T", JSON, &b"{\"a\": 1}"[..])
        );
        assert!(uuid::Uuid::parse_str(&event.id).is_ok());
    }
}
