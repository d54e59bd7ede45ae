//! Clusters of real processes on loopback, driven through the admin service as the operator does. No Kubernetes is needed.
//!
//! - `deaths`: a process dies before or after a write to the log, and the cluster reaches the same end.
//! - `fence`: a replica whose data differs from its group is found, fenced and replaced.
//! - `kills`: processes are killed again and again while clients append.
//! - `reverted`: a restored and a cloned disk are refused, and return as new nodes.
//! - `slow_link`: appends that take seconds on the links between the nodes commit.
//! - `stores_api`: stores are created and removed with the command line, without an operator.
//! - `harness`: processes with a supervisor, fault points, a writer, and the calls of an operator.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first failed expectation, and runs real processes on real time"
)]

mod common;
mod deaths;
mod fence;
mod harness;
mod kills;
mod reverted;
mod slow_link;
mod stores_api;
