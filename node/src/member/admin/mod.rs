//! `taffrail.admin.v1`: what the operator asks.
//!
//! - `service`: the service, and who answers a call. `here`: how this node is, and its beginning.
//! - `view`: the cluster as the coordinator sees it. `stores`, `nodes`, `grants`: what changes it.
//! - `answer`: what was asked for and what was refused, on the wire.

mod answer;
mod grants;
mod local;
mod nodes;
mod service;
mod stores;
mod view;

pub use service::Service;
