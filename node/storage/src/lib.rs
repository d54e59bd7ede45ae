//! The state database and the state machines over it: stores of events and the catalogue.

pub mod catalogue;
pub mod store;
