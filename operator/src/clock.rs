//! Wall clock and random numbers. A reconcile reads both at the edge and passes the values on, so plans and statuses
//! are pure functions of their arguments.
#![expect(clippy::disallowed_methods, reason = "this module is the only owner of these calls")]

use k8s_openapi::jiff::Timestamp;

/// Returns the wall-clock time, for the times in a status.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns a uniform random number in 0..1, used to spread simultaneous work.
pub(crate) fn random_fraction() -> f64 {
    rand::random()
}

/// Returns a random UUID (version 4) as a string.
pub(crate) fn random_uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}
