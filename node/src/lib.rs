//! The node: stores, Raft, gateway, subscriptions, metrics. Dependencies point one way:
//! gateway -> (catalogue, store) -> raft -> core.

pub mod catalogue;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod discovery;
pub mod engine;
pub mod exit;
pub mod failpoint;
pub mod gateway;
pub mod health;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod raft;
pub mod rt;
pub mod store;
