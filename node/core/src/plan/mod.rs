//! The coordinator's planner: computes the next steps of a cluster from its declared state, the
//! [`Catalogue`](crate::catalogue::Catalogue), and its observed state, a [`ClusterObservation`].
//!
//! The planner is pure and level-triggered:
//! - The planner does no I/O and reads no clock; the observation carries the time.
//! - Any pass may be the first after a crash of the coordinator, so a half-done step is a normal input.
//! - A cluster in the declared state, with leaders spread evenly, gets an empty [`Plan`].
//! - The voters of a group change only if every added voter is caught up and a majority of the new voters is close to
//!   the leader. A replica that is not close counts as unavailable.

mod action;
pub mod clocks;
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
pub mod rules;
mod settings;
mod settle;
pub mod status;
mod storage;
mod system;
mod wait_reason;
mod witnesses;

pub use action::{Action, Fence, Plan, Waiting};
pub use clocks::ClockReading;
pub use leadership::{Candidate, best_candidate, can_take_over};
pub use observation::{
    ClusterObservation, CommitMark, Contradiction, GroupObservation, Lineage, LogPoint, NodeObservation, ObservedGrant,
    ReplicaObservation,
};
pub use planner::{Planner, plan};
pub use wait_reason::WaitReason;

#[cfg(test)]
mod tests;
