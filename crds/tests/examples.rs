//! Tests of `examples/`: the files parse strictly and obey the rules, and `production.yaml` shows every field.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use taffrail_crds::{Cluster, EventStore, export};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    std::fs::read_to_string(path).expect("the example exists")
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("YAML")
}

/// Collects every field path of a value; the items of a list share a path.
fn paths(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(at.to_owned());
    for (key, inner) in value.as_object().into_iter().flatten() {
        paths(&format!("{at}.{key}"), inner, found);
    }
    for inner in value.as_array().into_iter().flatten() {
        paths(&format!("{at}[]"), inner, found);
    }
}

/// Parses a document, and fails on a field that the type does not know: such a field is missing after a round trip.
fn strict<T: DeserializeOwned + Serialize>(document: &Value) -> Result<T, String> {
    let parsed: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let (mut given, mut kept) = (BTreeSet::new(), BTreeSet::new());
    paths("", document, &mut given);
    paths("", &serde_json::to_value(&parsed).map_err(|error| error.to_string())?, &mut kept);
    let unknown: Vec<_> = given.difference(&kept).collect();
    if unknown.is_empty() { Ok(parsed) } else { Err(format!("unknown fields: {unknown:?}")) }
}

fn check(document: &Value) -> Result<(), String> {
    match document["kind"].as_str() {
        Some("Cluster") => strict::<Cluster>(document).map(drop),
        Some("EventStore") => strict::<EventStore>(document).map(drop),
        Some("HorizontalPodAutoscaler") => {
            strict::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>(document).map(drop)
        }
        other => Err(format!("unexpected kind {other:?}")),
    }
}

fn schema(kind: &str) -> Option<Value> {
    let crds = export::crds().expect("the CRDs export");
    let (_, crd) = crds.into_iter().find(|(_, crd)| crd["spec"]["names"]["kind"] == kind)?;
    Some(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
}

#[test]
fn examples_parse_strictly() {
    for name in ["minimal.yaml", "production.yaml"] {
        let text = text(name);
        for document in documents(&text) {
            assert_eq!(check(&document), Ok(()), "{name}");
        }
    }
}

#[test]
fn a_misspelt_field_would_be_noticed() {
    let text = text("minimal.yaml").replace("size:", "sise:");
    assert!(check(&documents(&text)[0]).is_err());
    let mut document = documents(&text)[1].clone();
    document["spec"]["clusterRef"]["nmae"] = "x".into();
    assert_eq!(check(&document), Err("unknown fields: [\".spec.clusterRef.nmae\"]".to_owned()));
}

#[test]
fn examples_obey_the_rules() {
    for name in ["minimal.yaml", "production.yaml"] {
        for document in documents(&text(name)) {
            let Some(schema) = schema(document["kind"].as_str().unwrap_or_default()) else {
                continue;
            };
            let defaulted = kube::core::cel::apply_defaults(&schema, &document);
            let verdict = kube::core::cel::Validator::new().validate(&schema, &defaulted, None);
            assert!(verdict.is_ok(), "{name}: {verdict:?}");
        }
    }
}

#[test]
fn the_production_example_shows_every_field() {
    fn fields(at: &str, schema: &Value, found: &mut BTreeSet<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(format!("{at}.{name}"));
            fields(&format!("{at}.{name}"), inner, found);
        }
        if schema["items"].is_object() {
            fields(&format!("{at}[]"), &schema["items"], found);
        }
    }
    let text = text("production.yaml");
    let documents = documents(&text);
    for kind in ["Cluster", "EventStore"] {
        let schema = schema(kind).expect("our kind");
        let mut wanted = BTreeSet::new();
        fields(".spec", &schema["properties"]["spec"], &mut wanted);
        let mut shown = BTreeSet::new();
        for document in documents.iter().filter(|document| document["kind"] == kind) {
            paths(".spec", &document["spec"], &mut shown);
        }
        for field in wanted.difference(&shown) {
            // A field that excludes another field, or that needs an id of the user, stands in a comment of the file.
            let name = field.rsplit('.').next().unwrap_or_default();
            assert!(text.contains(&format!("# {name}: ")), "{kind}{field} is not shown");
        }
    }
}
