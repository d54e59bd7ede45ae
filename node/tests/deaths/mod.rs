//! A process dies before or after a write to the log, in each phase of the life of a cluster.
//!
//! - `each_write`: the tests. `sweep`: distributes deaths over runs. `script`: the phases of a run and its end.
//! - `disks`: content of the disks after all nodes have stopped.
//! - `unborn`: a node is lost before the first membership of a group, which this node should write.

pub(crate) mod disks;
mod each_write;
mod script;
mod sweep;
mod unborn;
