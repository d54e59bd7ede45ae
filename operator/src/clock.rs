//! Wall clock and random numbers, the inputs that neither objects nor nodes supply. A reconcile reads both at its edge and
//! passes the values on, so that plans and statuses are functions of their arguments.
#![expect(clippy::disallowed_methods, reason = "this module is the one owner of these calls")]

use k8s_openapi::jiff::Timestamp;

/// Wall clock, for the times that a status shows.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Uniform in 0..1, to spread what would come at the same time.
pub(crate) fn random_fraction() -> f64 {
    rand::random()
}

/// A random UUID (version 4) as text.
pub(crate) fn random_uuid() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}
