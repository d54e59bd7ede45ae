//! State machine of a partition of a store. [`apply()`] executes a [`Command`] of the log and returns the outcomes.
//! Apart from the command, only the partition's own [`PartitionMeta`] and [`State`] are read and written.

mod apply;
mod block;
mod command;
mod digest;
mod gap;
mod state;
pub mod visibility;

pub use apply::{ApplyError, apply};
pub use block::{Block, RemovedStart};
pub use command::{Command, Kind, RULES, Settings, Stamped};
pub use digest::IdsHash;
pub use gap::Gap;
pub use state::{AppendRow, PartitionMeta, RepeatKey, RepeatRow, State, StreamRow};
