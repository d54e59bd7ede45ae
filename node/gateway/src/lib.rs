//! The gateway of a node: the gRPC services of `taffrail.v1` for clients, and for calls that another node forwards.
//!
//! The gateway decodes and validates a call, finds the store that the call addresses, lets a replica of this node
//! answer or forwards the call to a peer, one hop, and encodes the outcome as response or status. Every status has a
//! stable reason.
//!
//! The gateway owns no durable state and knows no replication or storage: it reaches both through
//! [`Node`](taffrail_store_api::Node). It never reports an append as failed that may have been proposed, never guesses
//! a store, and never forwards a call that a peer has forwarded ([`Origin`]).
//!
//! # Contents
//!
//! A call passes these modules in order:
//!
//! - [`server`]: the gRPC server of a port and its layers [`deadlines`], [`tonic_errors`] and [`inflow`].
//! - [`native`]: the services of `taffrail.v1`. [`health`]: gRPC health.
//! - [`instrument`]: counter, timer and span of a call.
//! - [`call`] and [`resolve`]: store, deadline and id of a call.
//! - [`decode`] and [`encode`]: conversion between wire and domain types.
//! - [`read`] and [`subscription`]: streams of events, which continue at their [`cursor`] when a replica is lost.
//! - [`forward`]: requests to a peer. [`readers`]: blocking reads of a replica of this node.
//! - [`status`]: domain errors as gRPC statuses.

mod call;
mod config;
pub mod cursor;
mod deadlines;
mod decode;
mod encode;
mod forward;
mod health;
mod inflow;
pub mod instrument;
mod native;
mod read;
pub mod readers;
mod resolve;
pub mod server;
mod shared;
mod status;
mod subscription;
mod tonic_errors;

pub use config::GatewayConfig;
pub use shared::{Origin, Shared};

#[cfg(test)]
mod tests;
