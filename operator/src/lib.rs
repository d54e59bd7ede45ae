//! Taffrail operator: reconciles `Cluster` and `EventStore` objects.
//!
//! Division of work:
//! - The operator decides the desired state, for example "this store exists with three replicas" or "drain this node".
//! - The coordinator among the nodes decides how to reach the desired state. The operator touches a pod only after
//!   evidence from the nodes.
//!
//! Both controllers have the same files: `observe` reads, `plan` is a pure function, `act` carries out the
//! plan, `status` reports.
//!
//! All state is in the API server and on the nodes. Memory of the process is only a cache: any reconcile may be the
//! first after a crash.

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
