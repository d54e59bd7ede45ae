//! Parses and checks all values, once, into the frozen [`Config`]. [`super::keys::KEYS`] holds the bounds and choices.

use super::{Config, Discovery, FinalizeUpgrade, LogFormat, log_filter, values::Values};
use crate::disk_space::MarkSettings;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use taffrail_raft::tuning::Tuning;
use tracing::level_filters::LevelFilter;

/// Parses and checks all values. The result is meaningless when `v.problems` is not empty.
pub(super) fn check(v: &mut Values, env: &BTreeMap<String, String>) -> Config {
    let listen_peers = v.address("listen.peers");
    let host = env.get("POD_IP").cloned().unwrap_or_else(|| "127.0.0.1".into());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let event_bytes_max = bytes(v, "limits.event_bytes_max");
    let batch_bytes_max = bytes(v, "limits.batch_bytes_max");
    let shares =
        MemoryShares::of(bytes(v, "limits.memory_mib").saturating_mul(1 << 20), batch_bytes_max, event_bytes_max);
    let drain_delay = millis(v, "shutdown.drain_delay_ms");
    let log_level = log_level(v);
    let advertise = v.optional("peer.advertise").unwrap_or_else(|| format!("{host}:{}", listen_peers.port()));
    // With port 0 (in tests) the system chooses the port, so no address can be announced yet.
    if listen_peers.port() != 0 || v.optional("peer.advertise").is_some() {
        v.host_port("peer.advertise", &advertise);
    }
    Config {
        data_dir: PathBuf::from(v.string("node.data_dir")),
        cluster: v.string("node.cluster"),
        namespace: v.string("node.namespace"),
        name: v.optional("node.name").or_else(|| env.get("POD_NAME").cloned()).unwrap_or_else(host_name),
        listen_clients: v.address("listen.clients"),
        listen_peers,
        listen_admin: v.address("listen.admin"),
        listen_http: v.address("listen.http"),
        advertise,
        discovery: discovery(v),
        cluster_domain: v.string("gateway.cluster_domain"),
        default_store: v.optional("gateway.default_store"),
        domains: v.list("gateway.domains"),
        append_timeout: millis(v, "gateway.append_timeout_ms"),
        event_bytes_max,
        batch_bytes_max,
        request_bytes_max: shares.requests,
        answer_bytes_max: shares.answers,
        state_memory_bytes: shares.state,
        disk_marks: disk_marks(v),
        finalize_upgrade: finalize_upgrade(v),
        raft: tuning(v),
        drain_delay,
        grace: millis(v, "shutdown.grace_ms"),
        log_format: log_format(v),
        log_level,
        log_filter: log_filter(v, log_level),
    }
}

/// The shares of `limits.memory_mib`, in bytes. The rest is for the log, the replicas and the allocator.
struct MemoryShares {
    state: usize,
    requests: usize,
    answers: usize,
}

impl MemoryShares {
    fn of(memory: usize, batch_bytes_max: usize, event_bytes_max: usize) -> Self {
        Self {
            state: memory / 5 * 2,
            // Twice the largest append: room for the encoding on the wire.
            requests: (memory / 8).max(batch_bytes_max * 2),
            // Half of the answers are for the only page of a reader, and the largest event is such a page.
            answers: (memory / 8).max(event_bytes_max * 4),
        }
    }
}

fn discovery(v: &mut Values) -> Discovery {
    match v.get("discovery.kind").0.as_str() {
        "kubernetes" => Discovery::Kubernetes { service: v.string("discovery.service") },
        "static" => Discovery::Static { peers: peers(v) },
        "single" => Discovery::Single,
        _ => {
            v.not_a_choice("discovery.kind", "");
            Discovery::Single
        }
    }
}

fn peers(v: &mut Values) -> Vec<String> {
    let peers = v.list("discovery.peers");
    for peer in &peers {
        v.host_port("discovery.peers", peer);
    }
    peers
}

fn tuning(v: &mut Values) -> Tuning {
    Tuning {
        heartbeat: millis(v, "raft.heartbeat_ms"),
        election_min: millis(v, "raft.election_min_ms"),
        election_max: millis(v, "raft.election_max_ms"),
        purge_after_entries: v.integer("raft.purge_after_entries"),
        keep_entries: v.integer("raft.keep_entries"),
        catch_up_bytes_per_second: v.integer("raft.catch_up_bytes_per_second"),
        ..Tuning::default()
    }
}

fn disk_marks(v: &mut Values) -> MarkSettings {
    let (soft, hard) = (v.integer("disk.soft_free_mib"), v.integer("disk.hard_free_mib"));
    if soft > 0 && soft <= hard {
        let (_, origin) = v.get("disk.soft_free_mib");
        v.problem("disk.soft_free_mib", &origin, format!("must be more than disk.hard_free_mib, {hard}, is {soft}"));
    }
    let bytes = |mib: u64| (mib > 0).then(|| mib.saturating_mul(1 << 20));
    MarkSettings { soft_bytes: bytes(soft), hard_bytes: bytes(hard) }
}

fn finalize_upgrade(v: &mut Values) -> FinalizeUpgrade {
    match v.get("upgrade.finalize").0.as_str() {
        "automatic" => FinalizeUpgrade::Automatic,
        "on-demand" => FinalizeUpgrade::OnDemand,
        _ => {
            v.not_a_choice("upgrade.finalize", "");
            FinalizeUpgrade::OnDemand
        }
    }
}

fn log_format(v: &mut Values) -> LogFormat {
    match v.get("log.format").0.as_str() {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
        _ => {
            v.not_a_choice("log.format", "");
            LogFormat::Json
        }
    }
}

fn log_level(v: &mut Values) -> LevelFilter {
    match v.get("log.level").0.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => {
            v.not_a_choice("log.level", "; directives go into log.filter");
            LevelFilter::INFO
        }
    }
}

fn log_filter(v: &mut Values, level: LevelFilter) -> String {
    let (directives, origin) = v.get("log.filter");
    if let Err(e) = log_filter::filter(level, &directives) {
        v.problem("log.filter", &origin, e.to_string());
    }
    directives
}

fn millis(v: &mut Values, name: &str) -> Duration {
    Duration::from_millis(v.integer(name))
}

fn bytes(v: &mut Values, name: &str) -> usize {
    usize::try_from(v.integer(name)).unwrap_or(usize::MAX)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
