//! Consensus of Taffrail: Raft groups, their durable log, and the transport between nodes.
//!
//! Owns the log and vote of every replica on a node and the task that drives openraft. Never decodes a
//! [`Command`](types::Command), never decides who should be a member, and knows neither stores nor the catalogue: both
//! arrive as a [`Machine`](machine::Machine).
//!
//! openraft stays behind this crate. No other crate of the node depends on openraft; another crate that needs an
//! openraft type (entry, log id, vote, membership) uses the name in [`types`]. The exception outside of the node is
//! the benchmark of the log, which drives [`LogStorage`](log::log_storage::LogStorage) through openraft's own trait,
//! as openraft does.
//!
//! | concept | modules |
//! |---|---|
//! | a running replica | [`group`] ([`Group`](group::Group)), `read_index`, `membership_change`, [`status`], [`tuning`] |
//! | calls of other replicas | `peer_rpc`, `install_requests`; outgoing: `network`, `full_replicas` |
//! | the replicated state | [`machine`] (the trait), [`shared_machine`], `state_machine` (for openraft) |
//! | transfers of state | [`catch_up_limits`], [`snapshot_fetch`] |
//! | before the start | [`start_check`], [`refill`] |
//! | the log | [`log`] (`LogDisk`, its RocksDB implementation, openraft's view) |
//! | node to node | [`peer`] |
//! | types and their bytes | [`types`], [`codec`] |
//! | observation | [`digests`], `metrics_follower`, `membership` (names of changes for fault points) |
//!
//! Guards against known defects of the pinned openraft version:
//! - leader restore is off (`tuning::config`);
//! - an append with a gap is refused (`log::log_storage`, `codec::check_consecutive`);
//! - only flushed state is called a snapshot (`state_machine`);
//! - pre-vote is implemented instead of granted by default (`network`).

pub mod catch_up_limits;
pub mod codec;
pub mod digests;
mod full_replicas;
pub mod group;
mod install_requests;
pub mod log;
pub mod machine;
mod membership;
mod membership_change;
mod metrics_follower;
mod network;
pub mod peer;
mod peer_rpc;
mod read_index;
pub mod refill;
mod runtime;
pub mod shared_machine;
pub mod snapshot_fetch;
pub mod start_check;
mod state_machine;
pub mod status;
pub mod tuning;
pub mod types;
