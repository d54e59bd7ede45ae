//! The coordinator's planner: decides from the [`Catalogue`](crate::catalogue::Catalogue) and a [`ClusterObservation`]
//! which steps to take next.
//!
//! The planner is pure and level-triggered: any pass may be the first after a crash, a half-done step is a normal
//! input, and a cluster that is as declared gets an empty [`Plan`].

mod action;
mod departures;
mod divergence;
pub mod grants;
mod group_view;
mod groups;
mod guard;
mod leadership;
mod membership;
mod observation;
mod placement;
mod planner;
mod settle;
pub mod status;
mod system;
mod wait_reason;

pub use action::{Action, Fence, Plan, Waiting};
pub use leadership::{Candidate, best_candidate, can_take_over};
pub use observation::{
    ClusterObservation, CommitMark, GroupObservation, LogPoint, NodeObservation, ReplicaObservation,
};
pub use planner::plan;
pub use wait_reason::WaitReason;

#[cfg(test)]
mod tests;
