//! The node as a whole: replicas that follow the applied catalogue, reachable for peers and served by the gateway.
//!
//! - [`run`]: the process with servers, signals and the order of the stop. [`deadline`]: the time that the phases of a
//!   stop share. [`lifecycle`]: the states from a blank disk to a member.
//! - [`member`]: the running member with the system replica and the store replicas. [`propose`]: commands for the
//!   catalogue. [`operations`]: operations that coordinator and peers call.
//!   [`sent_reports`]: reduces reports to changes.
//! - [`replicas`]: creates and removes replicas according to the catalogue. [`recovery`]: pauses between the starts of a
//!   failing replica, and refills. `store_changes`: creation and removal of stores for clients. `removal`: deletes the data
//!   of a replica, and completes the deletion after a crash. [`fence`]: stops a divergent replica for good.
//!   [`stop_replicas`]: stops replicas within a time limit. [`timed_machine`]: measures the apply times of state machines.
//! - [`admin`]: the admin service for the operator. [`peer_handler`]: answers frames of peers. [`gateway_adapter`]:
//!   implements the port of the gateway.
//! - [`wiring`]: connects the parts of a node, for the process and for the simulator.
//! - [`clock_watch`]: the differences between the clocks of the nodes, for the log and the metrics.
//! - [`readiness`]: the readiness as shown to probes. [`ready`]: the start barrier.

pub mod admin;
pub mod clock_watch;
pub mod deadline;
pub mod fence;
pub mod free_replica;
pub mod gateway_adapter;
pub mod lifecycle;
#[expect(clippy::module_inception, reason = "the file holds the type that the folder is about")]
pub mod member;
pub mod operations;
pub mod peer_handler;
pub mod propose;
pub mod readiness;
pub mod ready;
pub mod recovery;
mod removal;
pub mod replicas;
pub mod run;
pub mod sent_reports;
pub mod stop_replicas;
mod store_changes;
#[cfg(test)]
pub(crate) mod test_node;
pub mod timed_machine;
pub mod wiring;
