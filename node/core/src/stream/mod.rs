//! The state machine of one partition of a store: [`apply()`] turns a [`Command`] of the log into outcomes, and reads and
//! writes nothing but the partition's own [`State`].

mod apply;
mod block;
mod command;
mod digest;
mod state;

pub use apply::{ApplyError, apply};
pub use block::Block;
pub use command::{Command, Kind, RULES, Stamped};
pub use state::{PartitionMeta, RepeatKey, RepeatRow, State, StreamRow};
