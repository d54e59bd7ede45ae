//! Reconciles a `Cluster`.

pub mod act;
mod disturb;
pub(crate) mod finalize;
pub(in crate::controllers) mod observe;
pub mod plan;
mod poll;
mod reconcile;
pub mod seen;
mod status;
mod taken;
mod trouble;

pub use reconcile::{error_policy, reconcile};
