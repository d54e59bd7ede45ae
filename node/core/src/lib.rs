//! The pure domain of Taffrail: identities, events, commands, and the deterministic rules that turn a log of commands
//! into a store (`stream`) or into the catalogue of a cluster (`catalogue`), and the coordinator's planner (`plan`).
//!
//! Nothing here reads a clock, a random source, the environment or a file, and nothing iterates in hash order: the same
//! log gives the same state on every replica, version and restart.
#![deny(missing_docs)]

pub mod append;
pub mod catalogue;
pub mod event;
pub mod ids;
pub mod limits;
pub mod names;
pub mod plan;
pub mod stream;
