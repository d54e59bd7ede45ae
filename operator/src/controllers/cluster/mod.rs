//! Reconciles a `Cluster`.

pub mod act;
pub(crate) mod finalize;
mod observe;
pub mod plan;
mod reconcile;
pub mod seen;
mod status;
mod trouble;

pub use reconcile::{error_policy, reconcile};
