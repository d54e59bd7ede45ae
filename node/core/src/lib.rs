//! Domain rules of Taffrail, without I/O: ids, events and appends, the state machine of a store ([`stream`]), the state
//! machine of the cluster ([`catalogue`]), and the coordinator's planner ([`plan`]).
//!
//! Every function is deterministic: none reads a clock, a random source, the environment or a file, and none iterates
//! in hash order. The same log gives the same state on every replica, version and restart.
#![deny(missing_docs)]

pub mod append;
pub mod catalogue;
pub mod event;
pub mod ids;
pub mod limits;
pub mod names;
pub mod plan;
pub mod stream;
