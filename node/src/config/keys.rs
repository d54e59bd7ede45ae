//! The table of all settings. docs/CONFIG.md is generated from [`KEYS`]; `make fix` writes the page.

use super::key::{Key, Min};
use taffrail_core::limits;

const MS: &str = "milliseconds";
const BYTES: &str = "bytes";
const ENTRIES: &str = "entries";

/// All settings, in the order of the reference page.
pub const KEYS: &[Key] = &[
    Key::string("node.data_dir", "Directory of the marker file, the state database and the log.").required(),
    Key::string("node.cluster", "Name of the Cluster.").required(),
    Key::string("node.namespace", "Namespace of the Cluster; store names are unique within a namespace.")
        .default("default")
        .required(),
    Key::string("node.name", "Name of the node in logs and in the status of the Cluster.")
        .found("`POD_NAME`, else the host name"),
    Key::string("listen.clients", "Address for clients, `IP:PORT`.").default("[::]:2113"),
    Key::string("listen.peers", "Address for peers, `IP:PORT`.").default("[::]:2114"),
    Key::string("listen.admin", "Address for the operator, `IP:PORT`.").default("[::]:2115"),
    Key::string("listen.http", "Address for metrics and probes, `IP:PORT`.").default("[::]:9090"),
    Key::string("peer.advertise", "Address that this node announces to its peers, `HOST:PORT`.")
        .found("`POD_IP` (else 127.0.0.1) and the port of listen.peers"),
    Key::choice("discovery.kind", &["kubernetes", "static", "single"], "How the node finds its peers.")
        .default("kubernetes")
        .why(
            "`kubernetes` watches the EndpointSlices of a Service, `static` takes discovery.peers, `single` has no peers.",
        ),
    Key::string("discovery.service", "Headless Service of the peers.").required_when("discovery.kind", "kubernetes"),
    Key::list("discovery.peers", "Addresses of all nodes, each `HOST:PORT`.").required_when("discovery.kind", "static"),
    Key::string("gateway.cluster_domain", "DNS domain of the Kubernetes cluster.").default("cluster.local").required(),
    Key::string("gateway.default_store", "Store of calls that name no store."),
    Key::list("gateway.domains", "Additional DNS domains under which clients address stores."),
    Key::integer("gateway.append_timeout_ms", MS, Min::Fixed(1), 600_000, "Deadline of an append without a client deadline.")
        .default("10000"),
    Key::integer(
        "limits.event_bytes_max",
        BYTES,
        Min::Fixed(1),
        limits::EVENT_BYTES_MAX as u64,
        "Largest event, data and metadata together.",
    )
    .default("1048576")
    .why(
        "A page with the largest event then fits into 4 MiB, the default receive limit of gRPC libraries; clients need a \
         higher limit with larger events. The schema of Cluster has the same default and upper bound.",
    ),
    Key::integer(
        "limits.batch_bytes_max",
        BYTES,
        Min::Times(1, "limits.event_bytes_max"),
        limits::BATCH_BYTES_MAX as u64,
        "Largest append, all events together.",
    )
    .default("16777216")
    .why("The largest allowed event must fit; the schema of Cluster has the same upper bound."),
    Key::integer("limits.memory_mib", "mebibytes", Min::Fixed(64), 1 << 20, "Memory that the process plans with.")
        .default("960")
        .why(
            "Two fifths are for the state database, an eighth for requests until the outcome is known, and an eighth for \
             answers under way; the rest is for the log, the replicas and the allocator.",
        ),
    Key::integer(
        "disk.soft_free_mib",
        "mebibytes",
        Min::Fixed(0),
        1 << 30,
        "Free space on the disk below which the node refuses appends with `STORAGE_LOW`; 0 derives the mark from the disk.",
    )
    .default("0")
    .why(
        "Derived: room for a flush, two log segments and a compaction, an eighth of the disk and at most 1024. Appends go \
         on once an eighth more than the mark is free.",
    ),
    Key::integer(
        "disk.hard_free_mib",
        "mebibytes",
        Min::Fixed(0),
        1 << 30,
        "Free space on the disk below which the node also refuses log entries of leaders; 0 means half of the soft mark.",
    )
    .default("0")
    .why("Must be less than disk.soft_free_mib if both are set."),
    Key::choice(
        "upgrade.finalize",
        &["automatic", "on-demand"],
        "When the coordinator raises the rules of the catalogue and of the stores after an upgrade.",
    )
    .default("automatic")
    .why(
        "`automatic`: once the binaries of all nodes know newer rules; `on-demand`: at `taffrail cluster finalize-upgrade`, so \
         that a return to the older version stays possible until then. The setting of the coordinator's node counts.",
    ),
    Key::integer("raft.heartbeat_ms", MS, Min::Fixed(10), 10_000, "Interval between two heartbeats of a leader.")
        .default("150"),
    Key::integer(
        "raft.election_min_ms",
        MS,
        Min::Times(3, "raft.heartbeat_ms"),
        59_999,
        "Lower bound of the random election timeout.",
    )
    .default("500")
    .why("Two lost heartbeats must not cause an election."),
    Key::integer(
        "raft.election_max_ms",
        MS,
        Min::Above("raft.election_min_ms"),
        60_000,
        "Upper bound of the random election timeout.",
    )
    .default("900")
    .why("Replicas draw different timeouts, so that two candidates rarely split the votes."),
    Key::integer(
        "raft.purge_after_entries",
        ENTRIES,
        Min::Fixed(10),
        10_000_000,
        "Log entries after which the state is flushed and the log is purged.",
    )
    .default("20000")
    .why("Bounds the log on disk and the entries that a restart applies again."),
    Key::integer(
        "raft.keep_entries",
        ENTRIES,
        Min::Fixed(1),
        10_000_000,
        "Log entries that a purge keeps for followers that lag.",
    )
    .default("5000")
    .why("A follower that lags by more needs a copy of the state."),
    Key::integer(
        "raft.catch_up_bytes_per_second",
        BYTES,
        Min::Fixed(4 << 20),
        1 << 40,
        "Bytes per second that this node sends to replicas that catch up, all copies of state together.",
    )
    .default("67108864")
    .why("The default leaves half of a gigabit link to appends."),
    Key::integer(
        "shutdown.drain_delay_ms",
        MS,
        Min::Fixed(0),
        600_000,
        "Time for which a stopping node still accepts calls.",
    )
    .default("5000")
    .why("Proxies learn late that the node is no longer ready."),
    Key::integer(
        "shutdown.grace_ms",
        MS,
        Min::Above("shutdown.drain_delay_ms"),
        3_600_000,
        "Time for the whole stop; after this time the process ends, even with calls in progress.",
    )
    .default("110000")
    .why("Must be shorter than the grace period of the pod, or the kubelet kills the process first."),
    Key::choice("log.format", &["json", "text"], "Format of the log lines.")
        .default("json")
        .why("`json` goes to standard output, `text` to standard error."),
    Key::choice("log.level", &["off", "error", "warn", "info", "debug", "trace"], "Level of this node's log lines.")
        .default("info")
        .why("Libraries log at `info` at most and openraft at `warn` at most, because their debug lines hide the node's own."),
    Key::string(
        "log.filter",
        "Additional tracing-subscriber directives, comma-separated, for example `openraft=debug,taffrail_raft=trace`.",
    )
    .why("A directive overrides log.level for the target that it names."),
];

/// The key with this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}
