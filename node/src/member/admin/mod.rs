//! `taffrail.admin.v1`: the service for the operator.
//!
//! - `service`: [`Service`] answers calls or forwards calls to the coordinator.
//! - `local`: RPCs about this node; never forwarded.
//! - `cluster_view`: the coordinator's observation of the cluster.
//! - `stores`, `nodes`, `grants`: RPCs for changes of the catalogue. `fenced`: the removal of the data of a fenced replica.
//! - `parse`: ids in requests. `propose`: commands for the catalogue, and refusals as gRPC statuses.

pub(super) mod cluster_view;
mod fenced;
mod grants;
mod local;
pub(super) mod nodes;
mod parse;
mod propose;
mod service;
mod stores;
mod upgrade;

pub use service::Service;
