//! Tests of properties that hold for the whole exported schemas.

use std::path::Path;

use serde_json::Value;
use taffrail_core::limits;
use taffrail_crds::names::{ClusterId, ResourceName, StoreId};
use taffrail_crds::quantity::{Quantity, StorageSize};
use taffrail_crds::{compat, export, yaml};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

fn crds() -> Vec<(&'static str, Value)> {
    export::crds().expect("the CRDs export")
}

fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// Calls `visit` with the path and the schema of every node.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key) {
            walk(&format!("{path}{suffix}"), inner, visit);
        }
    }
}

#[test]
fn committed_files_equal_the_generated_ones() {
    for file in export::files().expect("the files export") {
        let committed = std::fs::read_to_string(root().join(&file.path)).unwrap_or_default();
        assert!(committed == file.content, "{} differs from the types in crds/src; run `make crds`", file.path);
    }
}

#[test]
fn a_crd_is_small_enough_for_kubectl_apply() {
    for (name, crd) in crds() {
        let yaml = yaml::to_string(&crd).expect("YAML");
        let json = serde_json::to_string(&crd).expect("JSON");
        assert!(yaml.len() < 100_000 && json.len() < 100_000, "{name}: {} bytes", yaml.len());
    }
}

#[test]
fn every_field_has_a_description_on_one_line() {
    for (name, crd) in crds() {
        walk("", schema(&crd), &mut |path, schema| {
            // Only fields need a description, not the items of scalar lists and maps.
            if path.ends_with("[]") || path.ends_with("{}") {
                return;
            }
            let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(text.len() > 8 && !text.contains('\n') && text.ends_with('.'), "{name}{path}: {text:?}");
        });
    }
}

#[test]
fn the_schema_has_none_of_the_traps() {
    for (name, crd) in crds() {
        walk("", schema(&crd), &mut |path, schema| {
            let at = format!("{name}{path}");
            let has = |key: &str| schema.get(key).is_some();
            assert!(!has("nullable"), "{at}: nullable");
            assert!(!has("anyOf") && !has("oneOf") && !has("allOf"), "{at}: a choice between schemas");
            assert!(!has("x-kubernetes-preserve-unknown-fields"), "{at}: open");
            assert!(schema["type"].is_string() && schema["type"] != "number", "{at}: {}", schema["type"]);
            assert!(!schema["format"].as_str().is_some_and(|f| f.starts_with('u')), "{at}: unsigned");
            for bound in ["minimum", "maximum"] {
                assert!(!schema[bound].is_f64(), "{at}: {bound} is a float");
            }
            if schema["type"] == "array" {
                assert!(has("x-kubernetes-list-type") && has("maxItems"), "{at}: unbounded or untyped list");
                if schema["x-kubernetes-list-type"] == "map" {
                    assert!(has("x-kubernetes-list-map-keys"), "{at}: no keys");
                }
            }
            if schema["type"] == "string" {
                assert!(has("maxLength") || has("enum") || schema["format"] == "date-time", "{at}: unbounded text");
            }
            if has("additionalProperties") {
                assert!(has("maxProperties"), "{at}: unbounded map");
            }
            for value in schema["enum"].as_array().into_iter().flatten() {
                let word = value.as_str().expect("enums are text");
                assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{at}: {word}");
            }
            if path.starts_with(".status.") {
                assert!(!has("default"), "{at}: a default in status");
            }
        });
    }
}

#[test]
fn paths_of_subresources_columns_and_selectors_resolve() {
    for (name, crd) in crds() {
        let version = &crd["spec"]["versions"][0];
        let mut paths: Vec<String> = Vec::new();
        for key in ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"] {
            paths.extend(version["subresources"]["scale"][key].as_str().map(str::to_owned));
        }
        assert_eq!(paths.len(), if name.starts_with("clusters") { 3 } else { 0 }, "{name}");
        for list in ["additionalPrinterColumns", "selectableFields"] {
            for entry in version[list].as_array().into_iter().flatten() {
                paths.push(entry["jsonPath"].as_str().expect("a path").to_owned());
            }
        }
        for path in paths.iter().filter(|path| !path.starts_with(".metadata")) {
            let mut at = schema(&crd);
            // `.status.conditions[?(...)].reason` names the field `reason` of the items of `conditions`.
            let plain = path.split_once('[').map_or_else(
                || path.clone(),
                |(list, rest)| format!("{list}.[]{}", rest.split_once(']').map_or("", |(_, field)| field)),
            );
            for part in plain.split('.').filter(|part| !part.is_empty()) {
                at = if part == "[]" { &at["items"] } else { &at["properties"][part] };
                assert!(at.is_object(), "{name}: {path} does not exist");
            }
        }
    }
}

#[test]
fn names_and_columns_are_the_documented_ones() {
    let crds = crds();
    let columns = |crd: &Value, wide: bool| -> Vec<String> {
        crd["spec"]["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|column| column["priority"].as_i64().unwrap_or(0) == i64::from(wide))
            .map(|column| column["name"].as_str().unwrap_or_default().to_uppercase())
            .collect()
    };
    let (cluster, store) = (&crds[0].1, &crds[1].1);
    assert_eq!(cluster["spec"]["names"]["shortNames"][0], "tfc");
    assert_eq!(store["spec"]["names"]["shortNames"][0], "evs");
    assert_eq!(columns(cluster, false), ["READY", "STORES", "VERSION", "STATUS", "AGE"]);
    assert_eq!(columns(store, false), ["CLUSTER", "REPLICAS", "LEADER", "STATUS", "AGE"]);
    assert_eq!(columns(store, true), ["TERM", "VOTERS", "LEARNERS", "STORE ID"]);
}

#[test]
fn sizes_are_bounded_as_the_node_bounds_them() {
    let all = crds();
    let settings = &schema(&all[0].1)["properties"]["spec"]["properties"]["settings"]["properties"];
    for (field, max) in [("eventBytesMax", limits::EVENT_BYTES_MAX), ("batchBytesMax", limits::BATCH_BYTES_MAX)] {
        assert_eq!(settings[field]["maximum"], max, "{field}");
    }
    assert_eq!(settings["eventBytesMax"]["default"], limits::EVENT_BYTES_DEFAULT);
}

#[test]
fn counts_that_a_lost_line_could_change_are_required() {
    for (name, crd) in crds() {
        let spec = &schema(&crd)["properties"]["spec"];
        assert!(spec["required"].as_array().is_some_and(|r| r.contains(&"replicas".into())), "{name}");
        assert!(spec["properties"]["replicas"].get("default").is_none(), "{name}");
    }
}

#[test]
fn the_schema_only_adds_to_the_released_one() {
    for (name, crd) in crds() {
        let path = root().join("crds/tests/released").join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the released schema is kept as a fixture");
        let released: Value = serde_saphyr::from_str(&text).expect("YAML");
        let breaks: Vec<String> = compat::breaks(&released, &crd).iter().map(ToString::to_string).collect();
        assert!(breaks.is_empty(), "{name}: {breaks:#?}");
    }
}

#[test]
fn an_empty_status_parses_and_nothing_is_written_as_null() {
    let cluster: taffrail_crds::ClusterStatus = serde_json::from_str("{}").expect("an emptied status");
    let store: taffrail_crds::EventStoreStatus = serde_json::from_str("{}").expect("an emptied status");
    for written in [serde_json::to_string(&cluster), serde_json::to_string(&store)] {
        assert!(!written.expect("JSON").contains("null"));
    }
}

#[test]
fn text_types_agree_with_their_patterns() {
    // The API server checks the pattern, Rust calls a function: `matches` of CEL runs the pattern, `parse` the
    // function.
    fn agree<T: std::str::FromStr>(pattern: &str, samples: &[&str]) {
        let schema = serde_json::json!({
            "type": "string",
            "x-kubernetes-validations": [{"rule": format!("self.matches(r'{pattern}')"), "message": "pattern"}],
        });
        for sample in samples {
            let by_pattern = kube::core::cel::Validator::new().validate(&schema, &Value::from(*sample), None).is_ok();
            assert_eq!(by_pattern, sample.parse::<T>().is_ok(), "{sample:?} and {pattern}");
        }
    }
    let quantities =
        ["1", "0", "0.5", "500m", "1Ki", "1Pi", "1P", "1K", "1E", "1.", ".1", "", "1 ", "01", "0Gi", "1.5Gi"];
    agree::<Quantity>(Quantity::PATTERN, &quantities);
    agree::<StorageSize>(StorageSize::PATTERN, &quantities);
    let names = ["a", "a-", "-a", "a-b", "A", "a.b", "a_b", "1a", "a1", "", "a\n"];
    agree::<ResourceName>(ResourceName::PATTERN, &names);
    let ids = ["0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10", "0198F3C2-7d54-7cc2-9b0e-2f6f0f2f9a10", "0198f3c2", ""];
    agree::<StoreId>(StoreId::PATTERN, &ids);
    agree::<ClusterId>(ClusterId::PATTERN, &ids);
}
