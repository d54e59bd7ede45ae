//! Tests of one node process.
//!
//! - `restart`: acknowledged events after `kill -9`. `starts`: refused starts. `stops`: the end of a process.
//! - `tasks`: the end of a task.
//! - `calls`, `deadlines`, `gateway`: refused calls and their reasons. `retained`: a retained store.
//! - `full_disk`: a disk that is filled from outside.
//! - `node`: starts, awaits and kills the process. `raw`: calls whose message is arbitrary bytes.

mod calls;
mod deadlines;
mod full_disk;
mod gateway;
mod node;
mod raw;
mod restart;
mod retained;
mod starts;
mod stops;
mod tasks;
