//! The process of a node: start, serve, stop.
//!
//! - `process`: [`run`] builds, runs and stops the parts of a node.
//! - `databases`: opens the state database and the log.
//! - `servers`: the four listeners and their servers.
//! - `signals`: SIGTERM and SIGINT.
//! - `stop`: the steps of a stop, before and after the end of the servers.

mod databases;
mod process;
mod servers;
mod signals;
mod stop;

pub use process::{Ended, run};
