//! Every key there is, and the reference page that is made from them.

use std::fmt;

/// What a value is. In the environment and in flags all values are texts; in the file each has a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A list of texts; comma-separated where there are only texts.
    List,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "a text",
            Self::Number => "a whole number",
            Self::List => "a list of texts",
        })
    }
}

/// A key: name, type, default (empty: none), what it is. The reference page is made from this table.
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What its value is.
    pub of: Type,
    /// Value when nothing sets it.
    pub default: &'static str,
    /// Unit, bounds and reason.
    pub help: &'static str,
}

const fn text(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, of: Type::Text, default, help }
}

const fn number(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, of: Type::Number, default, help }
}

const fn list(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, of: Type::List, default, help }
}

/// Every key there is.
pub const KEYS: &[Key] = &[
    text("node.data_dir", "", "directory of marker, state and log; required"),
    text("node.cluster", "", "name of the Cluster; required"),
    text("node.namespace", "default", "namespace of the Cluster; stores are named within it"),
    text("node.name", "", "pod or host name; default: POD_NAME, else the host's name"),
    text("listen.clients", "[::]:2113", "address for clients"),
    text("listen.peers", "[::]:2114", "address for peers"),
    text("listen.admin", "[::]:2115", "address for the operator"),
    text("listen.http", "[::]:9090", "address for metrics and probes"),
    text(
        "peer.advertise",
        "",
        "host:port that peers are told; default: POD_IP (else 127.0.0.1) and the port of listen.peers",
    ),
    text("discovery.kind", "kubernetes", "kubernetes, static or single"),
    text("discovery.service", "", "headless Service of the peers; required for kubernetes"),
    list("discovery.peers", "", "host:port of every node; required for static (in the environment: comma-separated)"),
    text("gateway.cluster_domain", "cluster.local", "DNS domain of the Kubernetes cluster"),
    text("gateway.default_store", "", "store of calls that name none"),
    list("gateway.domains", "", "further domains under which stores are addressed"),
    number("gateway.append_timeout_ms", "10000", "1 to 600000; time for an append whose client set no deadline"),
    number("limits.event_bytes_max", "4194304", "1 to 16777216; data and metadata of one event"),
    number("limits.batch_bytes_max", "16777216", "limits.event_bytes_max to 33554432; one append"),
    number(
        "limits.memory_mib",
        "960",
        "64 to 1048576; memory of the process: two fifths are for the state database, an eighth for calls under way on each port",
    ),
    number("raft.heartbeat_ms", "150", "10 to 10000; between two heartbeats of a leader"),
    number(
        "raft.election_min_ms",
        "500",
        "at least 3 heartbeats, at most 59999; shortest silence after which a replica stands for election",
    ),
    number("raft.election_max_ms", "900", "more than raft.election_min_ms, at most 60000; longest such silence"),
    number(
        "raft.purge_after_entries",
        "20000",
        "10 to 10000000; log entries after which state is flushed and the log purged",
    ),
    number("raft.keep_entries", "5000", "1 to 10000000; log entries kept for followers that lag"),
    number(
        "shutdown.drain_delay_ms",
        "5000",
        "0 to 600000; how long a stopping node still accepts calls, because proxies learn late",
    ),
    number("shutdown.grace_ms", "110000", "more than shutdown.drain_delay_ms; how long stopping may take in all"),
    text("log.format", "json", "json or text"),
    text(
        "log.level",
        "info",
        "off, error, warn, info, debug or trace; libraries speak at info at most, openraft at warn at most",
    ),
    text(
        "log.filter",
        "",
        "further directives of tracing-subscriber, comma-separated, which win over log.level: openraft=debug,taffrail_raft=trace",
    ),
];

/// The key of a name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The rule for a key that does not exist, with the key that was probably meant.
pub(super) fn unknown(name: &str) -> String {
    let close = KEYS.iter().map(|k| (strsim::levenshtein(name, k.name), k.name)).min();
    match close.filter(|(edits, _)| *edits <= EDITS_MAX) {
        Some((_, meant)) => format!("no such key; did you mean {meant}? docs/CONFIG.md lists all"),
        None => "no such key; docs/CONFIG.md lists all".to_owned(),
    }
}

/// How many characters may differ between a key and what was meant.
const EDITS_MAX: usize = 3;

/// The reference page, from `KEYS`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Node configuration\n\nGenerated from the table of keys in `node/src/config/keys.rs`; `make fix` writes it again.\n\
         Precedence: flag > environment > file > default. Unknown keys and values of another type are errors; all problems are \
         reported at once.\n\n| key | environment | type in the file | default | meaning |\n|---|---|---|---|---|\n",
    );
    for k in KEYS {
        let env = format!("TAFFRAIL_{}", k.name.replace('.', "_").to_uppercase());
        let default = if k.default.is_empty() { String::new() } else { format!("`{}`", k.default) };
        page.push_str(&format!("| `{}` | `{env}` | {} | {default} | {} |\n", k.name, k.of, k.help));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_one_that_was_meant() {
        assert!(unknown("listen.peerssss").contains("did you mean listen.peers?"), "three edits");
        assert!(!unknown("listen.peersssss").contains("did you mean"), "four edits");
        assert!(unknown("listen.clientz").contains("did you mean listen.clients?"));
        assert!(!unknown("something.else").contains("did you mean"));
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
