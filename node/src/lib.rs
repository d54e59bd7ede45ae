//! The server crate: assembles raft, storage and gateway into one node, and runs the node as a process.
//!
//! The binary calls [`serve::serve`]. A node starts in the order below. A failure at any step ends the process
//! with an exit code from [`exit::Code`].
//!
//! 1. [`config`]: reads and checks all settings. Nothing else is opened before this step has succeeded.
//! 2. [`logging`]: installs the subscriber of the log.
//! 3. [`identity`]: opens and locks the data directory, and records the nonce of this start.
//! 4. [`member::run`]: opens ports and databases, and starts the servers, the links to peers and the lifecycle.
//!    `discovery` supplies the addresses of peers.
//! 5. [`member::lifecycle`]: turns a blank disk into a member, or opens the replicas of a known member.
//! 6. [`member::ready`]: the node is ready once its replicas have caught up.
//!
//! [`disk_space`] measures the disk all the time; a node whose disk is nearly full refuses appends.
//!
//! While this node leads the system group, [`coordinator`] places replicas and moves leaderships. A stop reverses the order;
//! [`member::deadline`] bounds its phases.

mod atomic_file;
pub mod config;
pub mod coordinator;
mod discovery;
pub mod disk_space;
pub mod exit;
pub mod identity;
pub mod logging;
pub mod member;
pub mod serve;
