//! From values to the frozen configuration: every value is parsed and checked here, once.

use super::{
    Config, Discovery, LogFormat,
    values::{Values, shown},
};
use crate::logging;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use taffrail_core::limits;
use taffrail_raft::tuning::Tuning;
use tracing::level_filters::LevelFilter;

fn discovery(v: &mut Values) -> Discovery {
    let (kind, origin) = v.get("discovery.kind");
    match kind.as_str() {
        "kubernetes" => Discovery::Kubernetes { service: v.required("discovery.service") },
        "static" => {
            v.required("discovery.peers");
            let peers = v.list("discovery.peers");
            for peer in &peers {
                v.host_port("discovery.peers", peer);
            }
            Discovery::Static { peers }
        }
        "single" => Discovery::Single,
        other => {
            v.problem("discovery.kind", &origin, format!("must be kubernetes, static or single, is {}", shown(other)));
            Discovery::Single
        }
    }
}

fn tuning(v: &mut Values) -> Tuning {
    let heartbeat = v.number("raft.heartbeat_ms", 10, 10_000);
    let election_min = v.number("raft.election_min_ms", heartbeat * 3, 59_999);
    let election_max = v.number("raft.election_max_ms", election_min + 1, 60_000);
    Tuning {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_millis(election_min),
        election_max: Duration::from_millis(election_max),
        purge_after_entries: v.number("raft.purge_after_entries", 10, 10_000_000),
        keep_entries: v.number("raft.keep_entries", 1, 10_000_000),
    }
}

fn bytes(v: &mut Values, name: &str, min: usize, max: usize) -> usize {
    usize::try_from(v.number(name, min as u64, max as u64)).unwrap_or(max)
}

/// What the process may use, bytes. Two fifths are for the state database, a quarter for calls under way on both ports; the
/// rest is for the log, replicas and their logs' tails, and the allocator.
fn memory_bytes(v: &mut Values) -> usize {
    bytes(v, "limits.memory_mib", 64, 1 << 20).saturating_mul(1 << 20)
}

fn log_format(v: &mut Values) -> LogFormat {
    let (format, origin) = v.get("log.format");
    match format.as_str() {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
        other => {
            v.problem("log.format", &origin, format!("must be json or text, is {}", shown(other)));
            LogFormat::Json
        }
    }
}

fn log_level(v: &mut Values) -> LevelFilter {
    let (level, origin) = v.get("log.level");
    match level.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => {
            let rule = "must be off, error, warn, info, debug or trace";
            v.problem("log.level", &origin, format!("{rule}, is {}; directives go into log.filter", shown(&level)));
            LevelFilter::INFO
        }
    }
}

fn log_filter(v: &mut Values, level: LevelFilter) -> String {
    let (directives, origin) = v.get("log.filter");
    if let Err(e) = logging::filter(level, &directives) {
        v.problem("log.filter", &origin, e.to_string());
    }
    directives
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Parses and checks everything; what is wrong is in `v.problems`, and then the outcome means nothing.
pub(super) fn check(v: &mut Values, env: &BTreeMap<String, String>) -> Config {
    let listen_peers = v.address("listen.peers");
    let host = env.get("POD_IP").cloned().unwrap_or_else(|| "127.0.0.1".into());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let event_bytes_max = bytes(v, "limits.event_bytes_max", 1, limits::EVENT_BYTES_MAX);
    let batch_bytes_max = bytes(v, "limits.batch_bytes_max", event_bytes_max, limits::BATCH_BYTES_MAX);
    let memory_bytes = memory_bytes(v);
    let drain_ms = v.number("shutdown.drain_delay_ms", 0, 600_000);
    let log_level = log_level(v);
    let advertise = v.text("peer.advertise").unwrap_or_else(|| format!("{host}:{}", listen_peers.port()));
    // Port 0 lets the system choose (tests do); then there is nothing to tell peers yet.
    if listen_peers.port() != 0 || v.text("peer.advertise").is_some() {
        v.host_port("peer.advertise", &advertise);
    }
    Config {
        data_dir: PathBuf::from(v.required("node.data_dir")),
        cluster: v.required("node.cluster"),
        namespace: v.required("node.namespace"),
        name: v.text("node.name").or_else(|| env.get("POD_NAME").cloned()).unwrap_or_else(host_name),
        listen_clients: v.address("listen.clients"),
        listen_peers,
        listen_admin: v.address("listen.admin"),
        listen_http: v.address("listen.http"),
        advertise,
        discovery: discovery(v),
        cluster_domain: v.required("gateway.cluster_domain"),
        default_store: v.text("gateway.default_store"),
        domains: v.list("gateway.domains"),
        append_timeout: Duration::from_millis(v.number("gateway.append_timeout_ms", 1, 600_000)),
        event_bytes_max,
        batch_bytes_max,
        // The largest append always fits, with what the wire adds to it.
        inflow_bytes_max: (memory_bytes / 8).max(batch_bytes_max * 2),
        state_memory_bytes: memory_bytes / 5 * 2,
        raft: tuning(v),
        drain_delay: Duration::from_millis(drain_ms),
        grace: Duration::from_millis(v.number("shutdown.grace_ms", drain_ms + 1, 3_600_000)),
        log_format: log_format(v),
        log_level,
        log_filter: log_filter(v, log_level),
    }
}
