//! Reconciles a `Cluster`.

pub(crate) mod act;
mod disturb;
pub(crate) mod finalize;
mod name_conflict;
mod node_view;
pub(crate) mod observation;
pub(crate) mod observe;
pub(crate) mod plan;
mod pod_problem;
mod poll;
mod reconcile;
mod status;

pub(crate) use reconcile::{error_policy, reconcile};
