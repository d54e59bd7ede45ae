//! Values by key as strings, with origins and problems.

use super::{
    key::{Integer, Min, Presence, Type, listed},
    keys, suggestion,
};
use std::{collections::BTreeMap, fmt, net::SocketAddr};

/// An error in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, `section.key`.
    pub key: String,
    /// Source of the value: a file, a variable, a flag or `default`.
    pub origin: String,
    /// The violated rule, with the value.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.rule)
    }
}

/// Characters of a quoted value; longer values are cut, because the termination log is small.
const SHOWN_MAX: usize = 80;

/// Quotes a value for a problem, cut to [`SHOWN_MAX`].
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}...", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// Values by key with their origins, and the problems found so far.
#[derive(Default)]
pub(super) struct Values {
    values: BTreeMap<&'static str, (String, String)>,
    /// Checked integers, to which the bounds of other keys refer.
    integers: BTreeMap<&'static str, u64>,
    pub(super) problems: Vec<Problem>,
}

impl Values {
    /// Sets a key, or records a problem when no key has this name.
    pub(super) fn set(&mut self, name: &str, value: String, origin: &str) {
        match keys::find(name) {
            Some(k) => drop(self.values.insert(k.name, (value, origin.to_owned()))),
            None => self.problem(name, origin, suggestion::unknown(name)),
        }
    }

    pub(super) fn problem(&mut self, key: &str, origin: &str, rule: impl Into<String>) {
        // Parsers return texts of several lines; the termination log and `kubectl` show single lines.
        let rule = rule.into().split_whitespace().collect::<Vec<_>>().join(" ");
        self.problems.push(Problem { key: key.to_owned(), origin: origin.to_owned(), rule });
    }

    /// The value of an optional string; `None` when empty.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        Some(self.get(name).0).filter(|v| !v.is_empty())
    }

    /// The value of a string. An empty value of a required key is a problem.
    pub(super) fn string(&mut self, name: &str) -> String {
        let (value, origin) = self.get(name);
        // A value of the wrong type was recorded already; the key is not missing too.
        if value.is_empty() && self.requires(name) && !self.problems.iter().any(|p| p.key == name) {
            self.problem(name, &origin, "is required");
        }
        value
    }

    /// The items of a list; a problem as for [`Values::string`].
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        self.string(name).split(',').map(str::trim).filter(|s| !s.is_empty()).map(ToOwned::to_owned).collect()
    }

    /// Records an invalid value of a choice.
    pub(super) fn not_a_choice(&mut self, name: &str, remedy: &str) {
        let (value, origin) = self.get(name);
        let choices = match keys::find(name).map(|k| k.of) {
            Some(Type::Choice(choices)) => listed(choices),
            Some(Type::String | Type::Integer(_) | Type::StringList) | None => String::new(),
        };
        self.problem(name, &origin, format!("must be {choices}, is {}{remedy}", shown(&value)));
    }

    /// The value of an integer, checked against the bounds in the table of keys. With a problem the smallest allowed value.
    pub(super) fn integer(&mut self, name: &str) -> u64 {
        if let Some(checked) = self.integers.get(name) {
            return *checked;
        }
        let Some(key) = keys::find(name) else { return 0 };
        let Type::Integer(bounds) = key.of else { return 0 };
        let min = self.min(&bounds);
        let checked = self.within(name, min, bounds.max);
        self.integers.insert(key.name, checked);
        checked
    }

    fn min(&mut self, bounds: &Integer) -> u64 {
        match bounds.min {
            Min::Fixed(min) => min,
            Min::Times(n, other) => self.integer(other) * n,
            Min::Above(other) => self.integer(other) + 1,
        }
    }

    fn within(&mut self, name: &str, min: u64, max: u64) -> u64 {
        let (value, origin) = self.get(name);
        // Wider than any bound, so that negative and very large values are reported as out of bounds.
        let Ok(wide) = value.parse::<i128>() else {
            self.problem(name, &origin, format!("must be an integer, is {}", shown(&value)));
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

    /// Checks `HOST:PORT`. The host may be a name: peers announce names as well as addresses.
    pub(super) fn host_port(&mut self, name: &str, value: &str) {
        if !is_host_port(value) {
            let (_, origin) = self.get(name);
            self.problem(name, &origin, format!("must be HOST:PORT with a port of 1 to 65535, is {}", shown(value)));
        }
    }

    /// The value and the origin of a key; the default when no source sets the key.
    pub(super) fn get(&self, name: &str) -> (String, String) {
        self.values.get(name).cloned().unwrap_or_else(|| {
            let default = keys::find(name).map_or("", |k| k.default_value());
            (default.to_owned(), "default".to_owned())
        })
    }

    fn requires(&self, name: &str) -> bool {
        match keys::find(name).map(|k| k.presence) {
            Some(Presence::Required) => true,
            Some(Presence::RequiredWhen(other, value)) => self.get(other).0 == value,
            Some(Presence::Optional) | None => false,
        }
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
