//! A cluster of processes under test.
//!
//! - `process`: one node, restarted by a supervisor. `points`: the file that counts fault points and names the next death.
//! - `cluster`: the calls of an operator, repeated until answered. `events`: a writer with a check of the stored events.

pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod points;
pub(crate) mod process;
