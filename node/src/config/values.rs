//! Values by key as texts, where each came from, and what is wrong with them.

use super::keys;
use std::{collections::BTreeMap, fmt, net::SocketAddr};

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

/// How much of a value a problem shows: the termination log has room for few lines.
const SHOWN_MAX: usize = 80;

/// A value as a problem shows it.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// Values by key.
#[derive(Default)]
pub(super) struct Values {
    values: BTreeMap<&'static str, (String, String)>,
    pub(super) problems: Vec<Problem>,
}

impl Values {
    /// Sets a key that was found, or notes that there is none of this name.
    pub(super) fn set(&mut self, name: &str, value: String, origin: &str) {
        match keys::find(name) {
            Some(k) => drop(self.values.insert(k.name, (value, origin.to_owned()))),
            None => self.problem(name, origin, keys::unknown(name)),
        }
    }
    pub(super) fn problem(&mut self, key: &str, origin: &str, rule: impl Into<String>) {
        // One line each, whatever a parser says: the termination log and `kubectl` show lines.
        let rule = rule.into().split_whitespace().collect::<Vec<_>>().join(" ");
        self.problems.push(Problem { key: key.to_owned(), origin: origin.to_owned(), rule });
    }
    pub(super) fn get(&self, name: &str) -> (String, String) {
        self.values.get(name).cloned().unwrap_or_else(|| {
            let default = keys::find(name).map_or("", |k| k.default);
            (default.to_owned(), "default".to_owned())
        })
    }
    pub(super) fn text(&self, name: &str) -> Option<String> {
        Some(self.get(name).0).filter(|v| !v.is_empty())
    }
    pub(super) fn required(&mut self, name: &str) -> String {
        let (value, origin) = self.get(name);
        // One that was given wrongly is not missing too.
        if value.is_empty() && !self.problems.iter().any(|p| p.key == name) {
            self.problem(name, &origin, "is required");
        }
        value
    }
    pub(super) fn number(&mut self, name: &str, min: u64, max: u64) -> u64 {
        let (value, origin) = self.get(name);
        // Wider than any bound, so that one that is out of them is told so, whatever its sign.
        let Ok(wide) = value.parse::<i128>() else {
            self.problem(name, &origin, format!("must be a whole number, is {}", shown(&value)));
            return min;
        };
        match u64::try_from(wide) {
            Ok(n) if (min..=max).contains(&n) => n,
            Ok(_) | Err(_) => {
                self.problem(name, &origin, format!("must be {min} to {max}, is {wide}"));
                min
            }
        }
    }
    pub(super) fn address(&mut self, name: &str) -> SocketAddr {
        let (value, origin) = self.get(name);
        value.parse().unwrap_or_else(|_| {
            self.problem(name, &origin, format!("must be IP:PORT, is {}", shown(&value)));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }
    /// Checks `HOST:PORT`, where the host may be a name: peers are told names as well as addresses.
    pub(super) fn host_port(&mut self, name: &str, value: &str) {
        if !is_host_port(value) {
            let (_, origin) = self.get(name);
            self.problem(name, &origin, format!("must be HOST:PORT with a port of 1 to 65535, is {}", shown(value)));
        }
    }
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).0.split(',').map(str::trim).filter(|s| !s.is_empty()).map(ToOwned::to_owned).collect()
    }
}

fn is_host_port(value: &str) -> bool {
    let Some((host, port)) = value.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
