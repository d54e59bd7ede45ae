//! Settings from the file, which has types: a value of another type than its key's is an error, however well its text would
//! fit.

use super::{
    keys::{self, Key, Type},
    values::{Values, shown},
};
use std::path::Path;
use toml::Value;

impl Values {
    /// Takes what a file says.
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
                return self.problem("--config", &origin, format!("is no TOML: line {line}: {}", e.message()));
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
        let Some(key) = keys::find(name) else { return self.problem(name, origin, keys::unknown(name)) };
        match text_of(key, value) {
            Some(text) => self.set(name, text, origin),
            None => self.problem(name, origin, format!("must be {}, is {}", key.of, found(value))),
        }
    }
}

/// The text of a value that is of its key's type.
fn text_of(key: &Key, value: &Value) -> Option<String> {
    match key.of {
        Type::Text => value.as_str().map(ToOwned::to_owned),
        Type::Number => value.as_integer().map(|n| n.to_string()),
        Type::List => {
            let items: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
            items.map(|items| items.join(","))
        }
    }
}

/// What a value is, as a person would say it.
fn found(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {}", shown(text)),
        Value::Integer(n) => format!("the whole number {n}"),
        Value::Float(n) => format!("the number {n}"),
        Value::Boolean(b) => format!("the truth value {b}"),
        Value::Datetime(at) => format!("the time {at}"),
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

    /// What is said of these lines.
    fn said(lines: &str) -> Vec<String> {
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
            ("[node]\ndata_dir = 5\n", "node.data_dir: must be a text, is the whole number 5"),
            ("[node]\nname = true\n", "node.name: must be a text, is the truth value true"),
            ("[node]\ncluster = [\"a\"]\n", "node.cluster: must be a text, is a list"),
            ("[listen]\nclients = 1979-05-27\n", "listen.clients: must be a text, is the time 1979-05-27"),
            ("[log.level]\nours = \"info\"\n", "log.level: must be a text, is a section"),
            ("[raft]\nheartbeat_ms = \"150\"\n", "raft.heartbeat_ms: must be a whole number, is the text \"150\""),
            ("[raft]\nheartbeat_ms = 1.5\n", "raft.heartbeat_ms: must be a whole number, is the number 1.5"),
            ("[discovery]\npeers = \"a:1,b:2\"\n", "discovery.peers: must be a list of texts, is the text \"a:1,b:2\""),
            (
                "[gateway]\ndomains = [\"a\", 1]\n",
                "gateway.domains: must be a list of texts, is a list with the whole number 1",
            ),
            ("[gateway]\ndomains = [[\"a\"]]\n", "gateway.domains: must be a list of texts, is a list of lists"),
        ];
        for (lines, problem) in cases {
            assert_eq!(said(lines), [problem], "{lines}");
        }
    }

    #[test]
    fn a_value_of_its_own_type_is_taken() {
        let lines = "[node]\ndata_dir = \"5\"\n[raft]\nheartbeat_ms = 150\n[gateway]\ndomains = [\"a\", \"b\"]\n";
        assert_eq!(said(lines), Vec::<String>::new());
    }

    #[test]
    fn a_long_value_is_cut_short() {
        let long = said(&format!("[raft]\nheartbeat_ms = \"{}\"\n", "ä".repeat(10_000)));
        assert!(long[0].len() < 300 && long[0].ends_with("..."), "{}", long[0]);
    }

    #[test]
    fn a_key_that_does_not_exist_is_told_whatever_its_value_is() {
        assert!(said("[listen]\nclientz = 1\n")[0].contains("did you mean listen.clients?"));
    }
}
