//! Events as JSON: the format that `read` prints and `append --jsonl` accepts.
//!
//! The fields are `stream, revision, position, id, type, content_type, data, metadata, recorded_at`, and if present
//! `tags`, `correlation_id`, `causation_id` and `occurred_at`. `data` is the JSON value, or a base64 string beside `"data_encoding":
//! "base64"`. The same rule holds for `metadata`, which is `null` if empty.

use super::json_text;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use taffrail_client::v1;

const JSON: &str = "application/json";
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Writes an event as a single line of JSON.
#[must_use]
pub fn encode(e: &v1::RecordedEvent) -> String {
    let data = if is_json_type(&e.content_type) { Payload::json(&e.data) } else { Payload::base64(&e.data) };
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
        occurred_at: time(e.occurred_at.as_ref()),
        recorded_at: time(e.recorded_at.as_ref()),
    })
}

/// Fields of a line of JSON, in the order of output.
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
    #[serde(skip_serializing_if = "String::is_empty")]
    occurred_at: String,
    recorded_at: String,
}

/// A payload, or the metadata of an event, as a JSON value.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    /// Empty metadata, written as `null`.
    Absent,
    /// The JSON value, without white space between tokens.
    Json(Box<RawValue>),
    /// Bytes that are not JSON, in base64.
    Base64(String),
}

impl Payload {
    /// Encodes a payload that should be JSON: the compact text of the JSON value, or base64 if the bytes are not JSON.
    fn json(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).ok().and_then(json_text::compact).map_or_else(|| Self::base64(bytes), Self::Json)
    }

    fn base64(bytes: &[u8]) -> Self {
        Self::Base64(STANDARD.encode(bytes))
    }

    /// Returns the value of the field `data_encoding` or `metadata_encoding`.
    fn encoding(&self) -> Option<&'static str> {
        match self {
            Self::Absent | Self::Json(_) => None,
            Self::Base64(_) => Some("base64"),
        }
    }
}

/// Values for fields that a line omits.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Event type; a line without a type is an error if the default is missing too.
    pub event_type: Option<String>,
    /// MIME type of the payload. Without a default, a JSON payload gets `application/json` and other payloads
    /// an empty type.
    pub content_type: Option<String>,
}

/// Decodes a line of `append --jsonl`. The fields `stream`, `revision`, `position` and `recorded_at`, which the server
/// assigns, are ignored. A line without an id gets a random id.
///
/// # Errors
/// A sentence with the field and the rule that the value of the field breaks.
pub fn decode(line: &str, defaults: &Defaults) -> Result<v1::NewEvent, String> {
    let fields = json_text::fields(line).ok_or("is not a JSON object")?;
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
            "occurred_at" => event.occurred_at = parse_time(&text("occurred_at", value)?)?,
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
        event.id = taffrail_runtime::new_uuid().to_string();
    }
    if event.r#type.is_empty() {
        event.r#type = defaults.event_type.clone().ok_or("type: is missing, and --type is not given")?;
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

/// Parses a time in the form of RFC 3339; `None` for an empty text.
fn parse_time(text: &str) -> Result<Option<prost_types::Timestamp>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("occurred_at: {text:?} is not a time such as 2026-11-25T22:05:50Z");
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    // The fraction of a protobuf time is never negative, also before 1970.
    let nanos = time.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).map_err(|_| wrong())?;
    let nanos = i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).map_err(|_| wrong())?;
    Ok(Some(prost_types::Timestamp { seconds, nanos }))
}

/// Returns the bytes of a payload: the text of the JSON value, or the decoded base64 string.
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

/// Returns true for content types of JSON payloads.
fn is_json_type(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(JSON) || kind.to_ascii_lowercase().ends_with("+json")
}

/// Formats a time as RFC 3339 with microseconds; empty if the time is absent or out of range.
#[must_use]
pub fn time(at: Option<&prost_types::Timestamp>) -> String {
    at.and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok()).map_or_else(String::new, |t| format!("{t:.6}"))
}

#[cfg(test)]
mod tests;
