//! Table of rules, for the test with the CEL evaluator of kube and the test with an API server.

#![allow(unreachable_pub, reason = "each test that runs the table includes it as a module of its own")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Content of `rules.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// A valid object of each kind.
    pub base: BTreeMap<String, Value>,
    /// Cases, at least one for each rule.
    pub cases: Vec<Case>,
}

/// A rule with an accepted and a refused value; every value is a merge patch on the base of the kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Kind of the object.
    pub kind: String,
    /// Start of the message of the rule.
    pub rule: String,
    /// The object before an update; none when the object is new.
    pub old: Option<Value>,
    /// A value that the rule accepts.
    pub accepts: Value,
    /// A value that the rule refuses.
    pub refuses: Value,
}

/// Parses `rules.yaml`.
pub fn table() -> Table {
    serde_saphyr::from_str(include_str!("../rules.yaml")).expect("the table parses")
}

/// Merges a JSON merge patch (RFC 7396) into `base`; supports the cases in the table.
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
