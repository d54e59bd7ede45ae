//! The Kubernetes resource types of Taffrail, `taffrail.io/v1alpha1`: [`Cluster`] and [`EventStore`].
//!
//! This crate is the contract between users, the operator and the charts. The contract consists of:
//! * the Rust types of both kinds;
//! * the CEL rules of the schemas, which the API server checks;
//! * the types and reasons of [`conditions`], with the pure functions that derive conditions;
//! * the [`export`] of the committed YAML from the Rust types.
//!
//! The crate never calls an API server.
//!
//! Invariants, each with a test in `tests/`:
//! * fields are only ever added; [`compat`] compares with the last released schema;
//! * the exported schemas have no `nullable`, no float and no unsigned format, and every field has a description;
//! * `tests/rules.yaml` has an accepted and a refused value for every rule.

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

/// API group of both kinds.
pub const GROUP: &str = "taffrail.io";
/// API version of both kinds, and the only served version.
pub const VERSION: &str = "v1alpha1";
