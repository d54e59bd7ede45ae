//! `taffrail serve --single` as a real process: data that survives `kill -9`, refused starts, refused calls, bounded stops.
//! No Kubernetes is needed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first failed expectation, and runs real processes on real time"
)]

mod common;
mod single_node;
