//! The server: configuration, identity, discovery, and the member that joins replicas, peers and gateway into one node.

pub mod config;
pub mod coordinator;
pub mod discovery;
pub mod exit;
pub mod identity;
pub mod logging;
pub mod member;
