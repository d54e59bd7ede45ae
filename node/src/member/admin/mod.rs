//! `taffrail.admin.v1`: the service for the operator.
//!
//! - `service`: [`Service`], which answers a call or forwards it to the coordinator.
//! - `local`: RPCs about this node, which are never forwarded.
//! - `cluster_view`: the cluster as the coordinator observes it.
//! - `stores`, `nodes`, `grants`: RPCs that change the catalogue.
//! - `parse`: ids in requests. `propose`: commands for the catalogue, and refusals as gRPC statuses.

mod cluster_view;
mod grants;
mod local;
mod nodes;
mod parse;
mod propose;
mod service;
mod stores;

pub use service::Service;
