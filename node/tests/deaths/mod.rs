//! A process dies before or after a write to the log, in each phase of the life of a cluster.
//!
//! - `each_write`: the tests. `sweep`: which deaths share a run. `script`: the phases of a run and its end.
//! - `disks`: content of the disks after all nodes have stopped.
//! - `unborn`: the node that should form a group is lost before it does.

mod disks;
mod each_write;
mod script;
mod sweep;
mod unborn;
