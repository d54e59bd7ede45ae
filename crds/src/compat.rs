//! Compatibility of two schemas: the newer schema may only add to the older schema. Accepted objects must stay valid,
//! and clients must still find every field that they read.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// Incompatible change from an older to a newer schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Path of property names; `[]` stands for the items of a list, `{}` for the values of a map.
    pub path: String,
    /// Kind of the change.
    pub kind: BreakKind,
}

/// Kind of an incompatible change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakKind {
    /// A field was removed.
    FieldRemoved,
    /// A field got another type.
    TypeChanged,
    /// A value of an enumeration was removed, or a free field became an enumeration.
    EnumNarrowed,
    /// A field became required.
    NowRequired,
    /// A bound became tighter or was added; the value names the bound.
    BoundTightened(&'static str),
    /// A list or map got another merge strategy.
    MergeChanged,
}

impl fmt::Display for Break {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind } = self;
        match kind {
            BreakKind::FieldRemoved => write!(out, "{path}: removed"),
            BreakKind::TypeChanged => write!(out, "{path}: type changed"),
            BreakKind::EnumNarrowed => write!(out, "{path}: values removed"),
            BreakKind::NowRequired => write!(out, "{path}: now required"),
            BreakKind::BoundTightened(bound) => write!(out, "{path}: {bound} tightened"),
            BreakKind::MergeChanged => write!(out, "{path}: list or map type changed"),
        }
    }
}

/// Returns all incompatible changes between two CRDs of one kind, for each version in the older CRD.
pub fn breaks(old: &Value, new: &Value) -> Vec<Break> {
    let mut found = Vec::new();
    for (name, before) in versions(old) {
        match versions(new).into_iter().find(|(other, _)| *other == name) {
            Some((_, after)) => compare(name, before, after, &mut found),
            None => found.push(Break { path: name.to_owned(), kind: BreakKind::FieldRemoved }),
        }
    }
    found
}

fn versions(crd: &Value) -> Vec<(&str, &Value)> {
    let list = crd.pointer("/spec/versions").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|v| Some((v.get("name")?.as_str()?, v.pointer("/schema/openAPIV3Schema")?)))
        .collect()
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<Break>) {
    let mut report = |kind| found.push(Break { path: path.to_owned(), kind });
    if old.get("type") != new.get("type") {
        report(BreakKind::TypeChanged);
    }
    if ["x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"]
        .iter()
        .any(|key| old.get(key) != new.get(key))
    {
        report(BreakKind::MergeChanged);
    }
    if let Some(after) = texts(new, "enum")
        && texts(old, "enum").is_none_or(|before| !before.is_subset(&after))
    {
        report(BreakKind::EnumNarrowed);
    }
    for bound in ["maximum", "maxLength", "maxItems", "maxProperties"] {
        if tighter(number(old, bound), number(new, bound), |before, after| after < before) {
            report(BreakKind::BoundTightened(bound));
        }
    }
    for bound in ["minimum", "minLength", "minItems"] {
        if tighter(number(old, bound), number(new, bound), |before, after| after > before) {
            report(BreakKind::BoundTightened(bound));
        }
    }
    if new.get("pattern").is_some() && old.get("pattern") != new.get("pattern") {
        report(BreakKind::BoundTightened("pattern"));
    }

    let required_before = texts(old, "required").unwrap_or_default();
    for name in texts(new, "required").unwrap_or_default().difference(&required_before) {
        found.push(Break { path: format!("{path}.{name}"), kind: BreakKind::NowRequired });
    }
    for (name, before) in old.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new.get("properties").and_then(|p| p.get(name)) {
            Some(after) => compare(&path, before, after, found),
            None => found.push(Break { path, kind: BreakKind::FieldRemoved }),
        }
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let (Some(before), Some(after)) = (old.get(key), new.get(key)) {
            compare(&format!("{path}{suffix}"), before, after, found);
        }
    }
}

fn tighter(old: Option<f64>, new: Option<f64>, narrower: fn(f64, f64) -> bool) -> bool {
    match (old, new) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => narrower(before, after),
    }
}

fn number(schema: &Value, key: &str) -> Option<f64> {
    schema.get(key).and_then(Value::as_f64)
}

fn texts<'a>(schema: &'a Value, key: &str) -> Option<BTreeSet<&'a str>> {
    Some(schema.get(key)?.as_array()?.iter().filter_map(Value::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn crd(spec: Value) -> Value {
        json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": spec}}]}})
    }

    fn base() -> Value {
        json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "enum": ["X", "Y"]},
            "n": {"type": "integer", "maximum": 9},
            "l": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "string"}}}},
        }})
    }

    fn kinds(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut new = base();
        change(&mut new);
        breaks(&crd(base()), &crd(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn additions_are_no_break() {
        let found = kinds(|new| {
            new["properties"]["c"] = json!({"type": "object", "required": ["d"]});
            new["properties"]["a"]["enum"] = json!(["X", "Y", "Z"]);
            new["properties"]["n"]["maximum"] = json!(10);
            new["required"] = json!([]);
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn each_kind_of_break_is_found() {
        let remove = |path: &'static str, key: &'static str| {
            move |new: &mut Value| {
                new.pointer_mut(path).and_then(Value::as_object_mut).expect("an object").remove(key);
            }
        };
        assert_eq!(kinds(remove("/properties", "n")), ["v1.n: removed"]);
        assert_eq!(kinds(remove("/properties/l/items/properties", "b")), ["v1.l[].b: removed"]);
        assert_eq!(kinds(|new| new["properties"]["n"]["type"] = json!("string")), ["v1.n: type changed"]);
        assert_eq!(kinds(|new| new["properties"]["a"]["enum"] = json!(["X"])), ["v1.a: values removed"]);
        assert_eq!(kinds(|new| new["required"] = json!(["a", "n"])), ["v1.n: now required"]);
        assert_eq!(kinds(|new| new["properties"]["n"]["maximum"] = json!(8)), ["v1.n: maximum tightened"]);
        assert_eq!(kinds(|new| new["properties"]["n"]["minimum"] = json!(1)), ["v1.n: minimum tightened"]);
        assert_eq!(
            kinds(|new| new["properties"]["l"]["x-kubernetes-list-type"] = json!("set")),
            ["v1.l: list or map type changed"]
        );
        let gone = breaks(&crd(base()), &json!({"spec": {"versions": []}}));
        assert_eq!(gone.len(), 1);
    }
}
