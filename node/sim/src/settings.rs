//! [`config`]: the configuration of a simulated node.

use super::layout::NAMESPACE;
use crate::world::World;
use std::{net::SocketAddr, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_node::{
    config::{Config, Discovery, FinalizeUpgrade, LogFormat},
    disk_space::MarkSettings,
};
use tracing::level_filters::LevelFilter;

/// Bytes of requests in progress on a node, and bytes of answers under way.
const CALL_BYTES_MAX: usize = 64 << 20;

/// The settings of the node on a host. Addresses are never opened; the network of the run delivers frames and calls.
#[must_use]
pub fn config(world: &World, host: NodeId) -> Config {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        data_dir: "/sim".into(),
        cluster: "sim".into(),
        namespace: NAMESPACE.into(),
        name: format!("sim-{}", host.get() - 1),
        listen_clients: nowhere,
        listen_peers: nowhere,
        listen_admin: nowhere,
        listen_http: nowhere,
        advertise: format!("sim-{}:2114", host.get() - 1),
        discovery: Discovery::Static { peers: Vec::new() },
        cluster_domain: "cluster.local".into(),
        default_store: None,
        domains: Vec::new(),
        append_timeout: world.ms(1500),
        event_bytes_max: 1 << 20,
        batch_bytes_max: 4 << 20,
        request_bytes_max: CALL_BYTES_MAX,
        answer_bytes_max: CALL_BYTES_MAX,
        state_memory_bytes: 64 << 20,
        disk_marks: MarkSettings::default(),
        finalize_upgrade: FinalizeUpgrade::Automatic,
        raft: world.tuning.clone(),
        drain_delay: Duration::ZERO,
        grace: Duration::from_secs(30),
        log_format: LogFormat::Json,
        log_level: LevelFilter::OFF,
        log_filter: String::new(),
    }
}
