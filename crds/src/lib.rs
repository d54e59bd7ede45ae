//! The Kubernetes kinds of Taffrail, `taffrail.io/v1alpha1`: [`Cluster`] and [`EventStore`].
//!
//! This crate is the contract between users, the operator and the charts. It holds the Rust types, the rules that the
//! API server checks for us (CEL, in the schema), the vocabulary of conditions with the pure functions that derive
//! them, and the exporter that turns the types into the committed YAML. It talks to no API server.
//!
//! Invariants, each with a test in `tests/`:
//! * fields are only ever added; [`compat`] compares with the last released schema;
//! * no `nullable`, no float, no unsigned format in the exported schema, and a description on every field;
//! * every rule has a value that it accepts and one that it refuses.

#![deny(missing_docs)]
#![allow(unreachable_pub, reason = "KubeSchema repeats each struct as a `pub` type inside a function")]

pub mod cluster;
pub mod compat;
pub mod conditions;
pub mod event_store;
pub mod export;
pub mod labels;
pub mod names;
pub mod plan;
pub mod quantity;
pub mod yaml;

mod cleanup;
mod text;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use conditions::{Condition, ConditionType, Finding, Reason};
pub use event_store::{EventStore, EventStoreSpec, EventStoreStatus};
pub use plan::{PlanStep, Step};

/// The API group of all our kinds.
pub const GROUP: &str = "taffrail.io";
/// The one served version.
pub const VERSION: &str = "v1alpha1";
