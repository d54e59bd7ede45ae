//! A replica whose data differs from its group is found, fenced and replaced; no acknowledged event is lost.
//!
//! - `replaced`: the test. `disk`: changes the disk of a stopped node.

mod disk;
mod replaced;
