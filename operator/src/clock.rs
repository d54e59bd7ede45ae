//! Time and chance: what neither objects nor nodes say. A pass reads them at its edge and hands them on as values, so that
//! plans and statuses follow from their arguments alone.
#![expect(clippy::disallowed_methods, reason = "this module is the one owner of these calls")]

use k8s_openapi::jiff::Timestamp;

/// Wall clock, for the times that a status shows.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Uniform in 0..1, to spread what would come at the same time.
pub(crate) fn dice() -> f64 {
    rand::random()
}

/// A random UUID (version 4) as text.
pub(crate) fn new_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}
