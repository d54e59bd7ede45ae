//! The process of a node: start, serve, stop.
//!
//! - `process`: [`run`], which builds the parts of a node in order and stops them in order.
//! - `databases`: opens the state database and the log.
//! - `servers`: the four listeners and the servers on them.
//! - `signals`: SIGTERM and SIGINT.
//! - `stop`: the steps of stopping that precede and follow the end of the servers.

mod databases;
mod process;
mod servers;
mod signals;
mod stop;

pub use process::{Ended, run};
