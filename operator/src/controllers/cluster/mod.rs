//! Reconciles a `Cluster`.

pub mod act;
mod disturb;
pub(crate) mod finalize;
mod name_conflict;
mod node_view;
pub mod observation;
pub(in crate::controllers) mod observe;
pub mod plan;
mod pod_problem;
mod poll;
mod reconcile;
mod status;

pub use reconcile::{error_policy, reconcile};
