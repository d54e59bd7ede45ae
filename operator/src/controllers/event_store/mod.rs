//! Reconciles an `EventStore`.

mod act;
mod observe;
pub(crate) mod plan;
mod reconcile;
mod status;

pub(crate) use reconcile::{error_policy, reconcile};
