//! Calls passed on to a peer, once: deadline, store and request id go along, and what a peer passed on stays there.

use super::resolve::STORE;
use std::time::Duration;
use taffrail_core::names::StoreName;
use tokio::time::Instant;
use tonic::{
    Request,
    metadata::{MetadataMap, MetadataValue},
};

/// Metadata of a call that was passed on.
pub const HOP: &str = "taffrail-hop";
/// Metadata that follows a call through logs.
pub const REQUEST_ID: &str = "taffrail-request-id";

/// The longest deadline that is kept.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);
/// Part of a client's deadline that is kept for the answer: one that comes when the client has just left says nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(50);

/// The deadline that the client set, a little earlier so that our own answer arrives before it; `None` if it set none.
#[must_use]
pub fn asked_deadline(metadata: &MetadataMap) -> Option<Instant> {
    let asked = metadata.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse_timeout)?.min(DEADLINE_MAX);
    Some(Instant::now() + (asked - (asked / 10).min(ANSWER_TIME_MAX)))
}

/// The deadline of a call: the client's, else `default` from now.
#[must_use]
pub fn deadline(metadata: &MetadataMap, default: Duration) -> Instant {
    asked_deadline(metadata).unwrap_or_else(|| Instant::now() + default)
}

/// gRPC's form of a timeout: up to eight digits and a unit.
pub(super) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// A request for a peer, marked as passed on.
#[must_use]
pub fn request<T>(message: T, store: &StoreName, request_id: &str, deadline: Option<Instant>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    let metadata = request.metadata_mut();
    metadata.insert(HOP, MetadataValue::from_static("1"));
    if let Ok(value) = store.to_string().parse() {
        metadata.insert(STORE, value);
    }
    if let Ok(value) = request_id.parse() {
        metadata.insert(REQUEST_ID, value);
    }
    request
}

/// The request id of a call, minted when it has none.
#[must_use]
pub fn request_id(metadata: &MetadataMap) -> String {
    let given = metadata.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty() && v.len() <= 64);
    given.map_or_else(|| format!("{:016x}", crate::rt::random_u64()), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse() {
        assert_eq!(parse_timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
        for bad in ["", "S", "10", "x1S", "10s"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
