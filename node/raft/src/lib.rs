//! Consensus: openraft behind our own types. Nothing outside this folder sees an openraft type.
//!
//! - `types`: the type configuration and our names for its parts; `codec`: the disk and wire forms of them.
//! - `log/`: the durable log and vote (`LogDisk`), and openraft's view of it.
//! - `machine`: what a group replicates; `state_machine`: openraft's view of it.
//! - `network`: openraft's RPCs as frames of a `PeerTransport`.
//! - `group`: one running replica: propose, read index, membership; `membership`: what a change of it does;
//!   `answer`: what it answers to its peers; `status`: what it says of itself; `digests`: what it had at which index;
//!   `follow`: what it learns from openraft meanwhile; `tuning`: its times and bounds.
//!
//! The guards against the known defects of the pinned openraft version stand in `tuning::config` (leader restore off),
//! `log::store` and `network` (no append with a hole), `state_machine` (only what is flushed is called a snapshot),
//! and `network` (pre-vote is implemented, not granted by default).

pub mod codec;
pub mod digests;
pub mod group;
pub mod log;
pub mod machine;
mod membership;
mod metrics_follower;
pub mod network;
pub mod peer;
mod peer_rpc;
mod runtime;
pub mod state_machine;
pub mod status;
pub mod tuning;
pub mod types;
