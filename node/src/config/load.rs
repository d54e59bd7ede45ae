//! Defaults < file < environment < flags, as texts by key; then one pass that parses, checks and names every problem.

use super::{Config, Discovery, LogFormat, args::ServeArgs};
use crate::raft::tuning::Tuning;
use std::{collections::BTreeMap, ffi::OsString, fmt, net::SocketAddr, path::PathBuf, time::Duration};
use taffrail_core::limits;

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, `section.key`.
    pub key: String,
    /// Where its value came from.
    pub origin: String,
    /// The rule it breaks.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.rule)
    }
}

/// A key: name, default (empty: none), what it is. The reference page is made from this table.
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// Value when nothing sets it.
    pub default: &'static str,
    /// Unit, bounds and reason.
    pub help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help }
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    key("node.data_dir", "", "directory of marker, state and log; required"),
    key("node.cluster", "", "name of the Cluster; required"),
    key("node.namespace", "default", "namespace of the Cluster; stores are named within it"),
    key("node.name", "", "pod or host name; default: POD_NAME, else the host's name"),
    key("listen.clients", "[::]:2113", "address for clients"),
    key("listen.peers", "[::]:2114", "address for peers"),
    key("listen.admin", "[::]:2115", "address for the operator"),
    key("listen.http", "[::]:9090", "address for metrics and probes"),
    key(
        "peer.advertise",
        "",
        "host:port that peers are told; default: POD_IP (else 127.0.0.1) and the port of listen.peers",
    ),
    key("discovery.kind", "kubernetes", "kubernetes, static or single"),
    key("discovery.service", "", "headless Service of the peers; required for kubernetes"),
    key("discovery.peers", "", "host:port of every node; required for static (in the environment: comma-separated)"),
    key("gateway.cluster_domain", "cluster.local", "DNS domain of the Kubernetes cluster"),
    key("gateway.default_store", "", "store of calls that name none"),
    key("gateway.domains", "", "further domains under which stores are addressed"),
    key("gateway.append_timeout_ms", "10000", "1 to 600000; time for an append whose client set no deadline"),
    key("limits.event_bytes_max", "4194304", "1 to 16777216; data and metadata of one event"),
    key("limits.batch_bytes_max", "16777216", "limits.event_bytes_max to 33554432; one append"),
    key("raft.heartbeat_ms", "150", "10 to 10000; between two heartbeats of a leader"),
    key(
        "raft.election_min_ms",
        "500",
        "at least 3 heartbeats, at most 59999; shortest silence after which a replica stands for election",
    ),
    key("raft.election_max_ms", "900", "more than raft.election_min_ms, at most 60000; longest such silence"),
    key(
        "raft.purge_after_entries",
        "20000",
        "10 to 10000000; log entries after which state is flushed and the log purged",
    ),
    key("raft.keep_entries", "5000", "1 to 10000000; log entries kept for followers that lag"),
    key(
        "shutdown.drain_delay_ms",
        "5000",
        "0 to 600000; how long a stopping node still accepts calls, because proxies learn late",
    ),
    key("shutdown.grace_ms", "110000", "more than shutdown.drain_delay_ms; how long stopping may take in all"),
    key("log.format", "json", "json or text"),
    key("log.level", "info", "filter of tracing-subscriber, for example info,taffrail_node=debug"),
];

/// Environment names with our prefix that are not settings: the client's own, those of tests, and the service links of
/// Kubernetes.
fn is_setting(name: &str) -> bool {
    const CLIENT: &[&str] =
        &["ENDPOINT", "STORE", "CACHE", "OUTPUT", "TIMEOUT", "E2E", "FIX", "FAILPOINT", "FAILPOINT_FILE"];
    let Some(rest) = name.strip_prefix("TAFFRAIL_") else { return false };
    let link = rest.starts_with("SERVICE_")
        || rest.contains("_SERVICE_")
        || rest.ends_with("_PORT")
        || rest.contains("_PORT_")
        || rest.starts_with("PORT");
    !(CLIENT.contains(&rest) || rest.starts_with("OPERATOR_") || link)
}

/// Variables that tell a pod of itself.
const OWN_POD: [&str; 2] = ["POD_IP", "POD_NAME"];

/// The key that a variable sets.
fn key_of(variable: &str) -> String {
    variable.trim_start_matches("TAFFRAIL_").to_lowercase().replacen('_', ".", 1)
}

struct Values {
    values: BTreeMap<&'static str, (String, String)>,
    problems: Vec<Problem>,
}

impl Values {
    fn set(&mut self, name: &str, value: String, origin: &str) {
        match KEYS.iter().find(|k| k.name == name) {
            Some(k) => drop(self.values.insert(k.name, (value, origin.to_owned()))),
            None => self.problem(name, origin, unknown(name)),
        }
    }
    fn problem(&mut self, key: &str, origin: &str, rule: impl Into<String>) {
        // One line each, whatever a parser says: the termination log and `kubectl` show lines.
        let rule = rule.into().split_whitespace().collect::<Vec<_>>().join(" ");
        self.problems.push(Problem { key: key.to_owned(), origin: origin.to_owned(), rule });
    }
    fn get(&self, name: &str) -> (String, String) {
        self.values.get(name).cloned().unwrap_or_else(|| {
            let default = KEYS.iter().find(|k| k.name == name).map_or("", |k| k.default);
            (default.to_owned(), "default".to_owned())
        })
    }
    fn text(&self, name: &str) -> Option<String> {
        Some(self.get(name).0).filter(|v| !v.is_empty())
    }
    fn required(&mut self, name: &str) -> String {
        let (value, origin) = self.get(name);
        if value.is_empty() {
            self.problem(name, &origin, "is required");
        }
        value
    }
    fn number(&mut self, name: &str, min: u64, max: u64) -> u64 {
        let (value, origin) = self.get(name);
        match value.parse::<u64>() {
            Ok(n) if (min..=max).contains(&n) => n,
            Ok(n) => {
                self.problem(name, &origin, format!("must be {min} to {max}, is {n}"));
                min
            }
            Err(_) => {
                self.problem(name, &origin, format!("must be a whole number, is {value:?}"));
                min
            }
        }
    }
    fn address(&mut self, name: &str) -> SocketAddr {
        let (value, origin) = self.get(name);
        value.parse().unwrap_or_else(|_| {
            self.problem(name, &origin, format!("must be IP:PORT, is {value:?}"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }
    /// Checks `HOST:PORT`, where the host may be a name: peers are told names as well as addresses.
    fn host_port(&mut self, name: &str, value: &str) {
        if !is_host_port(value) {
            let (_, origin) = self.get(name);
            self.problem(name, &origin, format!("must be HOST:PORT with a port of 1 to 65535, is {value:?}"));
        }
    }
    fn list(&self, name: &str) -> Vec<String> {
        self.get(name).0.split(',').map(str::trim).filter(|s| !s.is_empty()).map(ToOwned::to_owned).collect()
    }
    /// The variables that are texts. What is none of ours may be anything; ours must be UTF-8.
    fn environment(&mut self, env: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, value) in env {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(texts.insert(name, value)),
                Err(value) if is_setting(&name) || OWN_POD.contains(&name.as_str()) => {
                    let rule = format!("must be UTF-8, is {:?}", value.to_string_lossy());
                    self.problem(&key_of(&name), &name, rule);
                }
                Err(_) => {}
            }
        }
        texts
    }
    fn file(&mut self, path: &std::path::Path) {
        let origin = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => return self.problem("--config", &origin, format!("{e}; must be a readable file in TOML")),
        };
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(e) => {
                let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                return self.problem("--config", &origin, format!("is no TOML: line {line}: {}", e.message()));
            }
        };
        for (section, body) in table {
            let Some(body) = body.as_table() else {
                self.problem(&section, &origin, "must be a section");
                continue;
            };
            for (name, value) in body {
                let name = format!("{section}.{name}");
                match scalar(value) {
                    Some(text) => self.set(&name, text, &origin),
                    None => self.problem(
                        &name,
                        &origin,
                        "must be a text, a whole number, true or false, or a list of texts",
                    ),
                }
            }
        }
    }
}

/// The rule for a key that does not exist, with the key that was probably meant.
fn unknown(name: &str) -> String {
    let close = KEYS.iter().map(|k| (edits(name, k.name), k.name)).min();
    match close.filter(|(edits, _)| *edits <= EDITS_MAX) {
        Some((_, meant)) => format!("no such key; did you mean {meant}? docs/CONFIG.md lists all"),
        None => "no such key; docs/CONFIG.md lists all".to_owned(),
    }
}

/// How many characters may differ between a key and what was meant.
const EDITS_MAX: usize = 3;

/// Characters to insert, remove or replace to get from one text to the other.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

fn is_host_port(value: &str) -> bool {
    let Some((host, port)) = value.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|i| i.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

impl Config {
    /// Builds the configuration.
    ///
    /// # Errors
    /// Every problem found, at once. No port and no file but `--config` was opened.
    pub fn load(args: &ServeArgs, env: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, Vec<Problem>> {
        let mut v = Values { values: BTreeMap::new(), problems: Vec::new() };
        let env = v.environment(env);
        if args.single {
            preset_single(&mut v);
        }
        if let Some(path) = &args.config {
            v.file(path);
        }
        for (name, value) in env.iter().filter(|(name, _)| is_setting(name)) {
            v.set(&key_of(name), value.clone(), name);
        }
        if args.data_dir.as_ref().is_some_and(|path| path.to_str().is_none()) {
            v.problem("node.data_dir", "--data-dir", "must be UTF-8");
        }
        let flags = [
            ("node.data_dir", args.data_dir.as_ref().map(|p| p.display().to_string()), "--data-dir"),
            ("listen.clients", args.listen_clients.clone(), "--listen-clients"),
            ("listen.peers", args.listen_peers.clone(), "--listen-peers"),
            ("listen.admin", args.listen_admin.clone(), "--listen-admin"),
            ("listen.http", args.listen_http.clone(), "--listen-http"),
        ];
        for (name, value, origin) in flags {
            if let Some(value) = value {
                v.set(name, value, origin);
            }
        }
        let config = check(&mut v, &env);
        if v.problems.is_empty() { Ok(config) } else { Err(v.problems) }
    }
}

fn preset_single(v: &mut Values) {
    for (name, value) in [
        ("node.cluster", "single"),
        ("discovery.kind", "single"),
        ("gateway.default_store", "default"),
        ("listen.clients", "127.0.0.1:2113"),
        ("listen.peers", "127.0.0.1:2114"),
        ("listen.admin", "127.0.0.1:2115"),
        ("listen.http", "127.0.0.1:9090"),
        ("shutdown.drain_delay_ms", "0"),
        ("log.format", "text"),
    ] {
        v.set(name, value.to_owned(), "--single");
    }
}

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
            v.problem("discovery.kind", &origin, format!("must be kubernetes, static or single, is {other:?}"));
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

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn check(v: &mut Values, env: &BTreeMap<String, String>) -> Config {
    let listen_peers = v.address("listen.peers");
    let host = env.get("POD_IP").cloned().unwrap_or_else(|| "127.0.0.1".into());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let event_bytes_max = bytes(v, "limits.event_bytes_max", 1, limits::EVENT_BYTES_MAX);
    let drain_ms = v.number("shutdown.drain_delay_ms", 0, 600_000);
    let (format, origin) = v.get("log.format");
    let log_format = match format.as_str() {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
        other => {
            v.problem("log.format", &origin, format!("must be json or text, is {other:?}"));
            LogFormat::Json
        }
    };
    let (log_level, origin) = v.get("log.level");
    if let Err(e) = tracing_subscriber::EnvFilter::try_new(&log_level) {
        v.problem("log.level", &origin, e.to_string());
    }
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
        batch_bytes_max: bytes(v, "limits.batch_bytes_max", event_bytes_max, limits::BATCH_BYTES_MAX),
        raft: tuning(v),
        drain_delay: Duration::from_millis(drain_ms),
        grace: Duration::from_millis(v.number("shutdown.grace_ms", drain_ms + 1, 3_600_000)),
        log_format,
        log_level,
    }
}

/// The reference page, from `KEYS`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Node configuration\n\nGenerated from the table of keys in `node/src/config/load.rs`; `make fix` writes it again.\n\
         Precedence: flag > environment > file > default. Unknown keys are errors; all problems are reported at once.\n\n\
         | key | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for k in KEYS {
        let env = format!("TAFFRAIL_{}", k.name.replace('.', "_").to_uppercase());
        let default = if k.default.is_empty() { String::new() } else { format!("`{}`", k.default) };
        page.push_str(&format!("| `{}` | `{env}` | {default} | {} |\n", k.name, k.help));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)], args: ServeArgs) -> Result<Config, Vec<Problem>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect::<Vec<_>>();
        Config::load(&ServeArgs { config: Some(path), ..args }, env.into_iter())
    }

    const GOOD: &str = "[node]\ndata_dir = \"/d\"\ncluster = \"main\"\n[discovery]\nservice = \"main-peers\"\n";

    #[test]
    fn flags_beat_environment_beats_file_beats_default() {
        let env = [("TAFFRAIL_LISTEN_CLIENTS", "0.0.0.0:1"), ("TAFFRAIL_NODE_DATA_DIR", "/e"), ("POD_IP", "10.0.0.9")];
        let args = ServeArgs { listen_clients: Some("0.0.0.0:2".into()), ..ServeArgs::default() };
        let config = load(GOOD, &env, args).unwrap();
        assert_eq!(config.listen_clients.port(), 2);
        assert_eq!(config.data_dir, PathBuf::from("/e"));
        assert_eq!(config.cluster, "main");
        assert_eq!(config.listen_admin.port(), 2115);
        assert_eq!(config.advertise, "10.0.0.9:2114");
    }

    #[test]
    fn every_problem_is_reported_at_once_with_key_and_origin() {
        let file =
            "[node]\ncluster = \"main\"\n[listen]\nclients = \"here\"\nclientz = 1\n[limits]\nevent_bytes_max = 0\n";
        let problems = load(file, &[("TAFFRAIL_RAFT_HEARTBEAT", "1")], ServeArgs::default()).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        for key in [
            "node.data_dir",
            "listen.clients",
            "listen.clientz",
            "limits.event_bytes_max",
            "raft.heartbeat",
            "discovery.service",
        ] {
            assert!(keys.contains(&key), "{key} missing in {keys:?}");
        }
        assert!(problems.iter().any(|p| p.key == "raft.heartbeat" && p.origin == "TAFFRAIL_RAFT_HEARTBEAT"));
    }

    #[test]
    fn an_unknown_key_names_the_one_that_was_meant() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert!(unknown("listen.clientz").contains("did you mean listen.clients?"));
        assert!(!unknown("something.else").contains("did you mean"));
    }

    #[test]
    fn a_file_that_is_no_toml_is_one_line_that_names_the_line() {
        let problems = load("[node]\ncluster = \"main\"\ndata_dir = /d\n", &[], ServeArgs::default()).unwrap_err();
        let first = problems[0].to_string();
        assert!(first.contains("line 3") && !first.contains('\n'), "{first}");
    }

    #[test]
    fn our_variables_must_be_utf8_and_others_may_be_anything() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(vec![b'x', 0xff]);
        let args = ServeArgs { single: true, data_dir: Some("/d".into()), ..ServeArgs::default() };
        assert!(Config::load(&args, [("LANG".into(), odd()), (odd(), "x".into())].into_iter()).is_ok());
        let problems = Config::load(&args, [("TAFFRAIL_NODE_NAME".into(), odd())].into_iter()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].key.as_str(), problems[0].origin.as_str()), ("node.name", "TAFFRAIL_NODE_NAME"));
        let args = ServeArgs { data_dir: Some(odd().into()), ..args };
        assert!(Config::load(&args, std::iter::empty()).is_err());
    }

    /// The operator's own golden files: what it renders is compared with them there, and parsed here.
    #[test]
    fn what_the_operator_renders_is_understood() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/tests/golden");
        for (name, default_store, grace) in [("minimal.yaml", None, 110), ("full.yaml", Some("orders"), 80)] {
            let text = std::fs::read_to_string(golden.join(name)).unwrap();
            let block = text.lines().skip_while(|l| l.trim() != "node.toml: |").skip(1);
            let block = block.take_while(|l| l.is_empty() || l.starts_with("    "));
            let file: String = block.map(|l| format!("{}\n", l.trim_start())).collect();
            assert!(file.contains("[discovery]"), "{name} has no node.toml: {file}");
            let pod = [("POD_NAME", "main-0"), ("POD_NAMESPACE", "default"), ("POD_IP", "10.0.0.7"), ("POD_UID", "u")];
            let config = load(&file, &pod, ServeArgs::default()).unwrap_or_else(|p| panic!("{name}: {p:?}"));
            assert_eq!((config.cluster.as_str(), config.namespace.as_str()), ("main", "default"));
            assert_eq!(config.discovery, Discovery::Kubernetes { service: "main-peers".into() });
            assert_eq!(config.data_dir, std::path::Path::new("/var/lib/taffrail/data"));
            let ports = [config.listen_clients, config.listen_peers, config.listen_admin, config.listen_http];
            assert_eq!(ports.map(|a| a.port()), [2113, 2114, 2115, 9090]);
            assert_eq!(config.default_store.as_deref(), default_store);
            assert_eq!(config.grace, Duration::from_secs(grace));
        }
    }

    #[test]
    fn addresses_of_peers_are_checked() {
        let file = "[node]\ndata_dir = \"/d\"\ncluster = \"main\"\n[peer]\nadvertise = \"no-port\"\n\
                    [discovery]\nkind = \"static\"\npeers = [\"ok:1\", \"[::1]:2\", \"bad\", \"h:0\"]\n";
        let problems = load(file, &[], ServeArgs::default()).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys.iter().filter(|k| **k == "discovery.peers").count(), 2, "{problems:?}");
        assert_eq!(keys.iter().filter(|k| **k == "peer.advertise").count(), 1, "{problems:?}");
    }

    #[test]
    fn sizes_are_bounded_by_the_limits_that_the_schema_of_cluster_has_too() {
        let (event, batch) = (limits::EVENT_BYTES_MAX, limits::BATCH_BYTES_MAX);
        let sized = |event: usize, batch: usize| {
            let file = format!("{GOOD}[limits]\nevent_bytes_max = {event}\nbatch_bytes_max = {batch}\n");
            load(&file, &[], ServeArgs::default()).map_err(|p| p.into_iter().map(|p| p.key).collect::<Vec<_>>())
        };
        let largest = sized(event, batch).unwrap();
        assert_eq!((largest.event_bytes_max, largest.batch_bytes_max), (event, batch));
        assert_eq!(sized(event + 1, batch).unwrap_err(), ["limits.event_bytes_max"]);
        assert_eq!(sized(event, batch + 1).unwrap_err(), ["limits.batch_bytes_max"]);
        for (name, max) in [("limits.event_bytes_max", event), ("limits.batch_bytes_max", batch)] {
            let rule = KEYS.iter().find(|k| k.name == name).unwrap().help;
            assert!(rule.contains(&format!(" to {max};")), "{name} says {rule:?}");
        }
    }

    #[test]
    fn service_links_are_not_settings() {
        let env = [("TAFFRAIL_SERVICE_HOST", "1"), ("TAFFRAIL_PORT_8080_TCP", "x"), ("TAFFRAIL_ENDPOINT", "y")];
        assert!(load(GOOD, &env, ServeArgs::default()).is_ok());
    }

    #[test]
    fn single_needs_nothing_but_a_directory() {
        let args = ServeArgs { single: true, data_dir: Some("/d".into()), ..ServeArgs::default() };
        let config = Config::load(&args, std::iter::empty()).unwrap();
        assert_eq!(config.discovery, Discovery::Single);
        assert_eq!(config.default_store.as_deref(), Some("default"));
        assert!(config.listen_clients.ip().is_loopback());
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIG.md");
        if std::env::var_os("TAFFRAIL_FIX").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference(), "run `make fix`");
    }
}
