//! Reconciles an `EventStore`.

mod act;
mod observe;
pub mod plan;
mod reconcile;
mod status;

pub use reconcile::{error_policy, reconcile};
