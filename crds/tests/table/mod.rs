//! The table of rules, for each test that runs it: with the evaluator of kube, and against an API server.

#![allow(unreachable_pub, reason = "each test that runs the table includes it as a module of its own")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// A valid object of each kind.
    pub base: BTreeMap<String, Value>,
    /// The rows.
    pub cases: Vec<Case>,
}

/// A rule with what it accepts and what it refuses, each a merge patch on the base of the kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The kind.
    pub kind: String,
    /// The start of the message of the rule.
    pub rule: String,
    /// What is there before; none when the object is new.
    pub old: Option<Value>,
    /// What the rule accepts.
    pub accepts: Value,
    /// What the rule refuses.
    pub refuses: Value,
}

/// Reads the table.
pub fn table() -> Table {
    serde_saphyr::from_str(include_str!("../rules.yaml")).expect("the table parses")
}

/// RFC 7396, as far as the table needs it.
pub fn merged(mut base: Value, patch: &Value) -> Value {
    match (base.as_object_mut(), patch.as_object()) {
        (Some(object), Some(patch)) => {
            for (key, value) in patch {
                let before = object.remove(key).unwrap_or(Value::Null);
                object.insert(key.clone(), merged(before, value));
            }
            base
        }
        _ => patch.clone(),
    }
}
