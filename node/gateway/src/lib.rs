//! The gateway of a node: the gRPC services of `taffrail.v1` for clients, and for calls forwarded by another node.
//!
//! A call is decoded and validated, and its store is resolved. A replica of this node answers, or else a peer, at most
//! one hop away. The outcome is encoded as a response or as a status with a stable reason.
//!
//! The gateway owns no durable state and knows no replication or storage; [`Node`](taffrail_store_api::Node) gives
//! access to both. Four rules hold for every call:
//!
//! - An append with an unknown outcome is never reported as failed.
//! - An ambiguous store name is an error; the gateway never guesses.
//! - A call forwarded by a peer is never forwarded again ([`Origin`]).
//! - Silence never widens a call: a field or value that this node does not know is refused or forwarded, never dropped
//!   on the way to a peer.
//!
//! # Contents
//!
//! A call passes these modules in order:
//!
//! - [`server`]: the gRPC server of a port, with the layers `deadlines`, `tonic_errors`, `inflow` and `outflow`.
//! - `memory`: the bounds of a node on the memory of requests and answers.
//! - `native`: the services of `taffrail.v1`. `health`: gRPC health.
//! - [`instrument`]: counter, timer and span of a call.
//! - `call` and `resolve`: store, deadline and id of a call.
//! - `decode` and `encode`: conversion between wire and domain types. `features`: the features that a request needs.
//! - `read` and `subscription`: streams of events, resumed at a [`cursor`] on another replica after a replica is lost.
//! - `forward`: requests to a peer. [`readers`]: blocking reads of a replica of this node.
//! - `status`: domain errors as gRPC statuses.

mod call;
mod config;
pub mod cursor;
mod deadlines;
mod decode;
mod encode;
mod features;
mod forward;
mod health;
mod inflow;
pub mod instrument;
mod memory;
mod native;
mod outflow;
mod read;
pub mod readers;
mod resolve;
mod resume;
pub mod server;
mod shared;
mod status;
mod subscription;
mod tonic_errors;

pub use config::GatewayConfig;
pub use memory::CallMemory;
pub use shared::{Origin, Shared};

#[cfg(test)]
mod tests;
