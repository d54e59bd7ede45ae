//! Calls passed on to a peer, once: deadline, store and request id go along, and what a peer passed on stays there.

use super::resolve::STORE;
use std::time::Duration;
use taffrail_core::names::StoreName;
use tokio::time::Instant;
use tonic::{
    Request,
    metadata::{MetadataMap, MetadataValue},
};

/// Digits of a timeout, as gRPC has it.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// Metadata of a call that was passed on.
pub const HOP: &str = "taffrail-hop";
/// Metadata that follows a call through logs.
pub const REQUEST_ID: &str = "taffrail-request-id";

/// gRPC's form of a timeout: up to eight digits and a unit. More digits are no timeout: they would overflow.
pub(super) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
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
    given.map_or_else(|| format!("{:016x}", taffrail_runtime::random_u64()), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse() {
        assert_eq!(parse_timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "10", "x1S", "10s", "+1S", "100000000n", "18446744073709551615H"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
