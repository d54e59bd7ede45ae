//! Settings from the file. The type of a value must be the type of the key, even when the string would parse.

use super::{
    key::{Key, Type},
    keys, suggestion,
    values::{Values, shown},
};
use std::path::Path;
use toml::Value;

impl Values {
    /// Reads a TOML file.
    pub(super) fn file(&mut self, path: &Path) {
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
                return self.problem("--config", &origin, format!("is not valid TOML: line {line}: {}", e.message()));
            }
        };
        for (section, body) in table {
            let Some(body) = body.as_table() else {
                self.problem(&section, &origin, "must be a section");
                continue;
            };
            for (name, value) in body {
                self.typed(&format!("{section}.{name}"), value, &origin);
            }
        }
    }

    fn typed(&mut self, name: &str, value: &Value, origin: &str) {
        let Some(key) = keys::find(name) else { return self.problem(name, origin, suggestion::unknown(name)) };
        match string_of(key, value) {
            Some(text) => self.set(name, text, origin),
            None => self.problem(name, origin, format!("must be {}, is {}", key.of.with_article(), found(value))),
        }
    }
}

/// Returns the value as a string; `None` when value and key differ in type.
fn string_of(key: &Key, value: &Value) -> Option<String> {
    match key.of {
        Type::String | Type::Choice(_) => value.as_str().map(ToOwned::to_owned),
        Type::Integer(_) => value.as_integer().map(|n| n.to_string()),
        Type::StringList => {
            let items: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
            items.map(|items| items.join(","))
        }
    }
}

/// Describes type and value for an error text.
fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {}", shown(text)),
        Value::Integer(n) => format!("the integer {n}"),
        Value::Float(n) => format!("the float {n}"),
        Value::Boolean(b) => format!("the boolean {b}"),
        Value::Datetime(at) => format!("the datetime {at}"),
        Value::Array(items) => match items.iter().find(|item| !item.is_str()) {
            Some(Value::Array(_)) => "a list of lists".to_owned(),
            Some(odd) => format!("a list with {}", found(odd)),
            None => "a list".to_owned(),
        },
        Value::Table(_) => "a section".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of a file with these lines.
    fn problems_of(lines: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, lines).unwrap();
        let mut values = Values::default();
        values.file(&path);
        values.problems.iter().map(|p| format!("{}: {}", p.key, p.rule)).collect()
    }

    #[test]
    fn a_value_of_another_type_names_key_type_and_what_was_found() {
        let cases = [
            ("[node]\ndata_dir = 5\n", "node.data_dir: must be a string, is the integer 5"),
            ("[node]\nname = true\n", "node.name: must be a string, is the boolean true"),
            ("[node]\ncluster = [\"a\"]\n", "node.cluster: must be a string, is a list"),
            ("[listen]\nclients = 1979-05-27\n", "listen.clients: must be a string, is the datetime 1979-05-27"),
            ("[log.level]\nours = \"info\"\n", "log.level: must be a string, is a section"),
            ("[raft]\nheartbeat_ms = \"150\"\n", "raft.heartbeat_ms: must be an integer, is the string \"150\""),
            ("[raft]\nheartbeat_ms = 1.5\n", "raft.heartbeat_ms: must be an integer, is the float 1.5"),
            (
                "[discovery]\npeers = \"a:1,b:2\"\n",
                "discovery.peers: must be a list of strings, is the string \"a:1,b:2\"",
            ),
            (
                "[gateway]\ndomains = [\"a\", 1]\n",
                "gateway.domains: must be a list of strings, is a list with the integer 1",
            ),
            ("[gateway]\ndomains = [[\"a\"]]\n", "gateway.domains: must be a list of strings, is a list of lists"),
        ];
        for (lines, problem) in cases {
            assert_eq!(problems_of(lines), [problem], "{lines}");
        }
    }

    #[test]
    fn a_value_of_its_own_type_is_taken() {
        let lines = "[node]\ndata_dir = \"5\"\n[raft]\nheartbeat_ms = 150\n[gateway]\ndomains = [\"a\", \"b\"]\n";
        assert_eq!(problems_of(lines), Vec::<String>::new());
    }

    #[test]
    fn a_long_value_is_cut_short() {
        let long = problems_of(&format!("[raft]\nheartbeat_ms = \"{}\"\n", "ä".repeat(10_000)));
        assert!(long[0].len() < 300 && long[0].ends_with("..."), "{}", long[0]);
    }

    #[test]
    fn an_unknown_key_is_reported_whatever_its_value_is() {
        assert!(problems_of("[listen]\nclientz = 1\n")[0].contains("did you mean listen.clients?"));
    }
}
