//! The catalogue on disk and in memory: the state machine of the system group.
//!
//! - `codec`: commands, answers and rows. `machine`: the state machine. The rules are `taffrail_core::catalogue`.

pub mod catalogue_machine;
pub mod codec;
