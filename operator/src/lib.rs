//! The Taffrail operator: watches `Cluster` and `EventStore` and makes them true.
//!
//! It decides *what* is to be (this store exists with three replicas; this node is to be drained); the coordinator among
//! the nodes decides *how*, and the operator waits for evidence before it touches a pod. Both controllers have the same
//! shape, a file each: `observe` reads, `plan` is a pure function, `act` carries out, `status` reports.
//!
//! All state is in the API server and with the nodes. What the process remembers is a cache: any pass may be the first
//! after a crash.

mod apply;
pub mod args;
mod backoff;
mod clock;
mod cluster_domain;
mod cluster_views;
mod context;
mod controllers;
mod declare_batcher;
mod error;
mod events;
pub mod health;
pub mod helm_test;
pub mod metrics;
mod name_conflict;
mod node_admin;
mod owned;
pub mod resources;
pub mod runtime;
mod scope;
mod status_gate;
mod triggers;
mod watch;
mod watches;

#[cfg(test)]
mod fake_api;
