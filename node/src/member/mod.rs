//! A node put together: its replicas follow the applied catalogue, its peers reach them, the gateway serves them.
//!
//! - `member`: the running member: system group, store replicas. `propose`: its commands for the catalogue.
//! - `admin`: what the operator asks.
//! - `replicas`: makes and removes replicas as the catalogue says. `fence`: ends one whose data is not its group's.
//!   `handler`: frames of peers.
//! - `facade`: the node as the gateway sees it. `ready`: the start barrier. `life`: from a blank disk to a member.
//! - `run`: the process: servers, signals, the order of stopping. `deadline`: what its phases share. `stop`: ends replicas.
//!   `timed`: state machines with a watch.

pub mod admin;
pub mod deadline;
pub mod fence;
pub mod gateway_adapter;
pub mod lifecycle;
#[expect(clippy::module_inception, reason = "the file holds the type that the folder is about")]
pub mod member;
pub mod operations;
pub mod peer_handler;
pub mod propose;
pub mod readiness;
pub mod ready;
pub mod replicas;
pub mod run;
pub mod stop_replicas;
pub mod timed_machine;
