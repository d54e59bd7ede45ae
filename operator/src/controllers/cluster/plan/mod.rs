//! Planner of a Cluster: a pure function from the desired state and the observation to the next actions, without I/O,
//! clock or memory. Every step follows from the observation, so a crash between any two steps resumes.
//!
//! At most one action of a reconcile may disturb a node ([`Action::disturbs`]).

mod action;
mod bootstrap;
mod decide;
mod decision;
mod formed;
pub(super) mod grant;
mod replace;
mod roll;
mod scale;
#[cfg(test)]
mod tests;

pub(super) use action::Action;
pub(super) use decide::plan;
pub(super) use decision::Plan;
