//! From what is asked for and what was observed to what is done next. A pure function: no I/O, no clock of its own, no
//! memory. Every step follows from what is observed, so a crash between any two steps resumes.
//!
//! At most one step of a reconcile may disturb a node ([`Action::disturbs`]).

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
