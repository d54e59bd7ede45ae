//! Runs the table of rules against the exported schemas, with the CEL evaluator of kube.

mod table;

use kube::core::cel::{Validator, apply_defaults};
use serde_json::Value;
use table::{merged, table};
use taffrail_crds::export;

fn schema(kind: &str) -> Value {
    let (_, crd) = export::crds()
        .expect("the CRDs export")
        .into_iter()
        .find(|(_, crd)| crd["spec"]["names"]["kind"] == kind)
        .expect("the kind exists");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn messages(schema: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let defaulted = |value: &Value| apply_defaults(schema, value);
    match Validator::new().validate(schema, &defaulted(object), old.map(defaulted).as_ref()) {
        Ok(()) => vec![],
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

#[test]
fn each_rule_accepts_the_good_and_refuses_the_bad() {
    let table = table();
    for case in &table.cases {
        let schema = schema(&case.kind);
        let base = &table.base[&case.kind];
        let old = case.old.as_ref().map(|patch| merged(base.clone(), patch));
        let good = messages(&schema, &merged(base.clone(), &case.accepts), old.as_ref());
        assert!(good.is_empty(), "{}: {good:?}", case.rule);
        let bad = messages(&schema, &merged(base.clone(), &case.refuses), old.as_ref());
        assert_eq!(bad.len(), 1, "{}: only this rule must refuse the value: {bad:?}", case.rule);
        assert!(bad[0].starts_with(&case.rule), "{} != {bad:?}", case.rule);
    }
}

#[test]
fn the_table_covers_every_rule_of_the_schemas() {
    let table = table();
    let mut count = 0;
    for kind in table.base.keys() {
        let mut found = Vec::new();
        collect_messages(&schema(kind), &mut found);
        for message in found {
            count += 1;
            assert!(
                table.cases.iter().any(|case| case.kind == *kind && message.starts_with(&case.rule)),
                "{kind}: no case for {message:?}"
            );
        }
    }
    assert!(count >= 19, "only {count} rules found: collect_messages misses rules");
}

fn collect_messages(schema: &Value, found: &mut Vec<String>) {
    if let Some(rules) = schema.get("x-kubernetes-validations").and_then(Value::as_array) {
        for rule in rules {
            found.push(rule["message"].as_str().expect("every rule has a message").to_owned());
        }
    }
    for (_, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        collect_messages(property, found);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(*key)) {
        collect_messages(inner, found);
    }
}
