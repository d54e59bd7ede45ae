//! `taffrail serve --single` as a process of its own: what survives `kill -9`, what refuses to start and how, and what the
//! gateway refuses and how. Needs no Kubernetes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as it must be, and is no part of a simulation"
)]

mod calls;
mod deadlines;
mod gateway;
mod node;
mod raw;
mod restart;
#[path = "../shared/mod.rs"]
mod shared;
mod starts;
mod stops;
