//! Complete reconciles of a Cluster while another object uses a needed name.

use crate::{controllers::cluster::reconcile, error::Error, fake_api::FakeApi};
use kube::core::DeserializeGuard;
use serde_json::{Value, json};
use std::sync::Arc;
use taffrail_crds::Cluster;

/// All objects of a Cluster `main` of three nodes: plural, kind, name.
const ALL: [(&str, &str, &str); 10] = [
    ("statefulsets", "StatefulSet", "main"),
    ("services", "Service", "main-clients"),
    ("services", "Service", "main-peers"),
    ("services", "Service", "main-ready"),
    ("poddisruptionbudgets", "PodDisruptionBudget", "main"),
    ("serviceaccounts", "ServiceAccount", "main-node"),
    ("roles", "Role", "main-node"),
    ("rolebindings", "RoleBinding", "main-node"),
    ("configmaps", "ConfigMap", "main-node"),
    ("configmaps", "ConfigMap", "main-identity"),
];

fn cluster() -> Cluster {
    let cluster = json!({
        "metadata": {"name": "main", "namespace": "ns", "uid": "u-main", "generation": 1, "resourceVersion": "1"},
        "spec": {"replicas": 3, "storage": {"size": "1Gi"}},
    });
    serde_json::from_value(cluster).expect("a Cluster")
}

/// Foreign object with an owner of this UID; `None`: without an owner.
fn object(name: &str, owner: Option<&str>) -> Value {
    let owners: Vec<Value> = owner
        .iter()
        .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}))
        .collect();
    json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("u-{name}"), "ownerReferences": owners}})
}

async fn reconcile_main(api: &FakeApi) -> Result<(), Error> {
    let main: Cluster = serde_json::from_value(api.get("clusters/main")).expect("the Cluster");
    let ctx = api.context(&[&main], &[]);
    reconcile(Arc::new(DeserializeGuard(Ok(main))), Arc::new(ctx)).await.map(drop)
}

#[tokio::test]
async fn nothing_is_made_while_any_name_is_taken_and_the_object_is_named() {
    for (plural, kind, name) in ALL {
        for owner in [None, Some("u-other")] {
            let api = FakeApi::start().await;
            api.put("clusters", &cluster());
            api.put(plural, &object(name, owner));
            let error = reconcile_main(&api).await.expect_err("the name is taken");
            assert!(
                matches!(&error, Error::NameConflict { conflicts } if conflicts.len() == 1),
                "{kind} {name}: {error}"
            );
            assert_eq!(api.writes(), ["PATCH clusters/main/status"], "{kind} {name}");
            let main = api.get("clusters/main");
            let conditions = main["status"]["conditions"].as_array().cloned().unwrap_or_default();
            for type_ in ["Ready", "Stalled", "Stable"] {
                let found = conditions.iter().find(|condition| condition["type"] == type_).expect(type_);
                assert_eq!(found["reason"], "NameTaken", "{kind} {name}: {found}");
                let message = found["message"].as_str().unwrap_or_default();
                assert!(
                    message.starts_with(&format!("{kind} {name} exists and belongs to something else")),
                    "{message}"
                );
                assert!(message.contains("rename or delete it"), "{message}");
            }
            reconcile_main(&api).await.expect_err("it is taken still");
            assert_eq!(api.writes().len(), 1, "nothing new, so nothing is written: {:?}", api.writes());
        }
    }
}

#[tokio::test]
async fn all_taken_names_are_told_at_once() {
    let api = FakeApi::start().await;
    api.put("clusters", &cluster());
    for (plural, _, name) in ALL {
        api.put(plural, &object(name, None));
    }
    let error = reconcile_main(&api).await.expect_err("the names are taken").to_string();
    for (_, kind, name) in ALL {
        assert!(error.contains(&format!("{kind} {name}")), "{error}");
    }
    assert!(error.contains("rename or delete them"), "{error}");
}

#[tokio::test]
async fn objects_of_ours_that_no_cache_shows_yet_take_no_name() {
    let api = FakeApi::start().await;
    api.put("clusters", &cluster());
    let made = reconcile_main(&api).await;
    assert!(made.is_ok(), "{made:?}");
    let names = api.names();
    for (plural, kind, name) in ALL {
        let is_there = names.contains(&format!("{plural}/{name}"));
        // The identity waits for the reports of the nodes.
        assert_eq!(is_there, name != "main-identity", "{kind} {name}: {names:?}");
    }
    let again = reconcile_main(&api).await;
    assert!(!matches!(again, Err(Error::NameConflict { .. })), "{again:?}");
}
