//! Name conflicts: another object already uses a required name.

use super::{Scenario, blocked, merged, says};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use taffrail_localkube::wait;
use taffrail_scenarios::{
    manifests::{cluster, event_store},
    scenario::MINUTE,
};
use tokio::time::Instant;

/// Time limit for noticing a free name: by a watch, not by a timer.
const AT_ONCE: Duration = Duration::from_secs(10);
const KINDS: &str = "statefulsets,services,poddisruptionbudgets,serviceaccounts,roles,rolebindings,configmaps";

/// Checks a foreign Service with the name of a store. The store itself exists; only its address waits.
pub(crate) async fn of_a_store(s: &Scenario) -> anyhow::Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "orders"},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]}});
    s.apply(service.to_string()).await?;
    let before = s.get("svc/orders").await?;
    s.apply(cluster(1) + &event_store("orders", 1, "")).await?;
    s.wait_stable(&["tfc/main"], MINUTE).await?;
    let took = says(s, "evs/orders", "NameTaken", &["Service orders", "rename or delete it", "main-clients"]).await?;
    let after = s.get("svc/orders").await?;
    ensure!(
        after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"],
        "the foreign Service was changed: {after}"
    );
    s.kubectl.delete(["svc/orders"]).await?;
    let mended = s.wait_stable(&["evs/orders"], AT_ONCE).await?;
    let ours = s.get("svc/orders").await?;
    ensure!(ours["spec"]["selector"]["app"].is_null(), "the Service does not belong to the store: {ours}");
    println!("j: a name conflict was reported after {took:?}; after deletion of the Service, Stable within {mended:?}");
    Ok(())
}

/// Returns a foreign object for every name required by the Cluster `taken`.
fn strangers() -> Vec<Value> {
    let labels = json!({"app": "shop"});
    let named = |api: &str, kind: &str, name: &str, more: Value| {
        let meta = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels}});
        merged(meta, &more)
    };
    let service = json!({"spec": {"selector": labels, "ports": [{"port": 80}]}});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "shop"}]}});
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"roleRef": {"apiGroup": rbac, "kind": "Role", "name": "taken-node"}});
    vec![
        named(
            "apps/v1",
            "StatefulSet",
            "taken",
            json!({"spec": {"replicas": 0, "serviceName": "shop", "selector": {"matchLabels": labels}, "template": template}}),
        ),
        named("v1", "Service", "taken-clients", service.clone()),
        named("v1", "Service", "taken-peers", service.clone()),
        named("v1", "Service", "taken-ready", service),
        named(
            "policy/v1",
            "PodDisruptionBudget",
            "taken",
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}}}),
        ),
        named("v1", "ServiceAccount", "taken-node", json!({})),
        named("rbac.authorization.k8s.io/v1", "Role", "taken-node", json!({"rules": []})),
        named("rbac.authorization.k8s.io/v1", "RoleBinding", "taken-node", role),
        named("v1", "ConfigMap", "taken-node", json!({"data": {"k": "v"}})),
        named("v1", "ConfigMap", "taken-identity", json!({"data": {"k": "v"}})),
    ]
}

fn full_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// Lists the objects of the Cluster's kinds with names starting with `taken`: kind, name, UID, and absence of owners.
async fn present(s: &Scenario) -> anyhow::Result<Vec<String>> {
    let found = s.kubectl.json(["get", KINDS]).await?;
    let items = found["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().filter(|o| o["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("taken")));
    let mut all: Vec<String> = ours
        .map(|o| format!("{} {} {}", full_name(o), o["metadata"]["uid"], o["metadata"]["ownerReferences"].is_null()))
        .collect();
    all.sort();
    Ok(all)
}

/// Checks a Cluster with all its names in use: the condition names each conflict, and nothing is created or adopted.
/// The Cluster continues after the last name is free.
pub(crate) async fn of_a_cluster(s: &Scenario) -> anyhow::Result<()> {
    let strangers = strangers();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": strangers});
    s.apply(list.to_string()).await?;
    let before = present(s).await?;
    ensure!(before.len() == strangers.len(), "{before:?}");
    s.apply(blocked("taken", 3, &json!({})).to_string()).await?;
    let names: Vec<String> = strangers.iter().map(full_name).collect();
    let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
    words.push("rename or delete them");
    let took = says(s, "tfc/taken", "NameTaken", &words).await?;
    let after = present(s).await?;
    ensure!(after == before, "an object was created or adopted: {after:?} instead of {before:?}");
    ensure!(s.get("tfc/taken").await?["status"]["clusterId"].is_null(), "the Cluster was started");

    // After deletion of all but one foreign object, the condition names only this object, and nothing is created.
    let (last, others) = strangers.split_last().context("no strangers")?;
    let others: Vec<String> = others.iter().map(|object| full_name(object).replacen(' ', "/", 1)).collect();
    s.kubectl.delete(&others).await?;
    let last_name = full_name(last);
    let alone = format!("{last_name} exists and belongs");
    let fewer = says(s, "tfc/taken", "NameTaken", &[alone.as_str(), "rename or delete it"]).await?;
    let left = present(s).await?;
    ensure!(left.len() == 1 && left.iter().all(|object| before.contains(object)), "{left:?}");

    s.kubectl.delete([last_name.replacen(' ', "/", 1)]).await?;
    let start = Instant::now();
    wait::until("the name to be seen free", AT_ONCE, || async {
        let found = s.get("tfc/taken").await.map_err(|error| error.to_string())?;
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if all.iter().any(|c| c["reason"] == "NameTaken") { Err(format!("{all:?}")) } else { Ok(()) }
    })
    .await?;
    let seen = start.elapsed();
    let mended = s.wait_stable(&["tfc/taken"], MINUTE * 2).await?;
    println!(
        "j: {} name conflicts of a Cluster were reported after {took:?}, the last alone after {fewer:?}; noticed as free \
         after {seen:?}, Stable {mended:?} later",
        names.len()
    );
    s.kubectl.delete(["tfc/taken"]).await?;
    Ok(())
}

/// Checks that a pause delays deletions, but not the end of a namespace.
pub(crate) async fn of_a_namespace_that_ends(s: &Scenario) -> anyhow::Result<()> {
    let name = "taffrail-e2e-ends";
    let kubectl = s.kubectl.in_namespace(name);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    kubectl.apply(namespace.to_string()).await?;
    kubectl.apply(cluster(1) + &event_store("orders", 1, ", deletionPolicy: Delete")).await?;
    kubectl.run(["wait", "--for=condition=Stable", "tfc/main", "evs/orders", "--timeout=120s"]).await?;
    for object in ["tfc/main", "evs/orders"] {
        let found = kubectl.json(["get", object]).await?;
        ensure!(
            !found["metadata"]["finalizers"].is_null(),
            "{object} has no finalizer, so the test would prove nothing"
        );
    }
    kubectl.run(["patch", "tfc/main", "--type=merge", "-p", "{\"spec\":{\"paused\":true}}"]).await?;
    kubectl.run(["wait", "--for=condition=Paused", "tfc/main", "--timeout=60s"]).await?;
    // First the pause alone delays the deletion; then the namespace is deleted as well.
    kubectl.run(["delete", "evs/orders", "tfc/main", "--wait=false"]).await?;
    kubectl.run(["wait", "--for=condition=Stalled", "tfc/main", "evs/orders", "--timeout=60s"]).await?;
    let start = Instant::now();
    kubectl.delete(["namespace", name]).await?;
    println!("j: the namespace of a paused Cluster ended within {:?}", start.elapsed());
    Ok(())
}
