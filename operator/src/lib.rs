//! The Taffrail operator: watches `Cluster` and `EventStore` and makes them true.
//!
//! It decides *what* is to be (this store exists with three replicas; this node is to be drained); the coordinator among
//! the nodes decides *how*, and the operator waits for evidence before it touches a pod. Both controllers have the same
//! shape, a file each: `observe` reads, `plan` is a pure function, `act` carries out, `status` reports.
//!
//! All state is in the API server and with the nodes. What the process remembers is a cache: any pass may be the first
//! after a crash.

pub mod apply;
pub mod args;
pub mod backoff;
pub(crate) mod clock;
pub mod cluster_domain;
pub mod cluster_views;
pub mod context;
pub mod controllers;
pub mod declare_batcher;
pub mod error;
pub mod events;
pub mod health;
pub mod helm_test;
pub mod metrics;
pub mod name_conflict;
pub mod node_admin;
pub(crate) mod owned;
pub mod resources;
pub mod runtime;
pub(crate) mod scope;
pub(crate) mod status_gate;
pub(crate) mod triggers;
pub mod watch;
pub(crate) mod watches;

#[cfg(test)]
mod fake_api;

pub use error::Error;
