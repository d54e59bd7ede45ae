//! The inside of a cluster: what runs in its namespaces and keeps its components running.
//!
//! [`init()`] is the first process and only collects others that ended; [`supervise`] is its one child and does the work. They
//! are two because whoever collects every ended process would take exit codes from under whoever waits for one of them.

mod component;
mod faults;
mod init;
mod mounts;
mod namespace;
mod node;
mod serve;
mod volume_directories;

pub use init::run as init;
pub(crate) use namespace::directories_to_make;
pub use serve::run as supervise;
