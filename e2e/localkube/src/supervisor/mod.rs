//! The processes inside the namespaces of a cluster.
//!
//! [`init()`] is the first process and only reaps ended processes; the child process [`supervise`] runs the cluster.
//! The work is split because a process reaping all children would also consume the exit statuses awaited by
//! [`supervise`] for single components.

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
