//! Restarts, deletions and a lost status, in any order: all events are kept, and each pod keeps its node id.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test panics at the first failed check")]

use anyhow::{Context, ensure};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use taffrail_localkube::{kubectl::condition_is_true, wait};
use taffrail_scenarios::{
    manifests::{cluster, event_store},
    members::{Member, NodeIdHistory, members, wait_for_members},
    replicas::{append_and_read, check_replicas_agree},
    run::run,
    scenario::{MINUTE, Scenario},
    workload::{self, Target, Workload},
};
use tokio::time::Instant;

const PODS: [&str; 2] = ["-l", "taffrail.io/cluster=main"];

async fn uids(s: &Scenario) -> anyhow::Result<BTreeSet<String>> {
    let args = ["get", "pods", PODS[0], PODS[1], "-o", "jsonpath={.items[*].metadata.uid}"];
    Ok(s.kubectl.run(args).await?.split_whitespace().map(ToOwned::to_owned).collect())
}

/// Waits until all old pods are gone and three new pods are Ready.
async fn renewed(s: &Scenario, old: &BTreeSet<String>) -> anyhow::Result<()> {
    wait::until("new pods", MINUTE * 3, || async {
        let now = uids(s).await.map_err(|e| e.to_string())?;
        if now.len() == 3 && now.is_disjoint(old) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await?;
    s.kubectl.run(["wait", "--for=condition=Ready", "pod", PODS[0], PODS[1], "--timeout=120s"]).await?;
    Ok(())
}

async fn has_reason(s: &Scenario, object: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("{object} to say {reason}"), MINUTE * 2, || async {
        let found = s.get(object).await.map_err(|e| e.to_string())?;
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if all.iter().any(|c| c["reason"] == reason) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await?;
    Ok(())
}

async fn text_of(s: &Scenario, object: &str, field: &str) -> anyhow::Result<String> {
    let found = s.get(object).await?;
    Ok(found["status"][field].as_str().with_context(|| format!("no {field} of {object}"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_stops_deletions_and_forgetting_keeps_events_and_ids() {
    run("survival", async |s| {
        let yaml = cluster(3) + &event_store("orders", 3, "");
        s.apply(yaml.clone()).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let before = wait_for_members(s, 3).await?;
        ensure!(before.len() == 3, "{before:?}");
        let mut ids = NodeIdHistory::default();
        ids.record(&before)?;
        let target = s.target("orders").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load.wait_for_progress().await?;
        // Like a Service: without pods, the old addresses stay and connections fail.
        let following = s.follow_pods(&target);

        all_pods_are_deleted(s, &load).await?;
        the_stateful_set_is_deleted(s, &load).await?;
        let declared = Declared::of(s, before).await?;
        the_status_is_emptied(s, &load, &declared).await?;
        everything_is_deleted_and_applied_again(s, &target, yaml, &declared).await?;

        // The store accepts appends again, from new clients and from existing clients.
        for endpoint in s.endpoints().await?.values() {
            append_and_read(endpoint, "orders").await?;
        }
        load.wait_for_progress().await?;
        drop(following);
        target.set(s.endpoints().await?);
        let verdict = load.finish(MINUTE * 2).await?;
        println!("c: {verdict:?}");
        ensure!(verdict.unnamed.is_empty(), "errors without a reason: {:?}", verdict.unnamed);
        ensure!(!verdict.waits.is_empty(), "no writer noticed that the store was unavailable");
        check_replicas_agree(s, "orders").await
    })
    .await
    .unwrap();
}

/// Identifiers to compare before and after.
struct Declared {
    members: BTreeMap<String, Member>,
    cluster_id: String,
    store_id: String,
}

impl Declared {
    async fn of(s: &Scenario, members: BTreeMap<String, Member>) -> anyhow::Result<Self> {
        let cluster_id = text_of(s, "tfc/main", "clusterId").await?;
        let store_id = text_of(s, "evs/orders", "storeId").await?;
        Ok(Self { members, cluster_id, store_id })
    }
}

/// Deletes all pods gracefully at the same moment.
async fn all_pods_are_deleted(s: &Scenario, load: &Workload) -> anyhow::Result<()> {
    let old = uids(s).await?;
    s.kubectl.run(["delete", "pods", PODS[0], PODS[1], "--wait=false"]).await?;
    renewed(s, &old).await?;
    load.wait_for_progress().await?;
    println!("c: all pods were deleted gracefully at once and came back");
    Ok(())
}

async fn the_stateful_set_is_deleted(s: &Scenario, load: &Workload) -> anyhow::Result<()> {
    let old = uids(s).await?;
    let set = s.kubectl.run(["get", "sts/main", "-o", "jsonpath={.metadata.uid}"]).await?;
    s.kubectl.run(["delete", "sts/main", "--wait=false"]).await?;
    wait::until("another StatefulSet", MINUTE * 3, || async {
        let now = s.kubectl.run(["get", "sts/main", "-o", "jsonpath={.metadata.uid}"]).await;
        let now = now.map_err(|e| e.to_string())?;
        if now == set { Err("still the old one".to_owned()) } else { Ok(()) }
    })
    .await?;
    renewed(s, &old).await?;
    load.wait_for_progress().await?;
    println!("c: the StatefulSet was deleted and came back");
    Ok(())
}

/// Empties the status of the Cluster and of the store; the operator must notice without another change.
async fn the_status_is_emptied(s: &Scenario, load: &Workload, declared: &Declared) -> anyhow::Result<()> {
    for object in ["tfc/main", "evs/orders"] {
        let patch = ["patch", object, "--subresource=status", "--type=merge", "-p", "{\"status\":null}"];
        // The response of the API server, before any other write.
        let stored = s.kubectl.json(patch).await?;
        ensure!(stored["status"].is_null(), "the status of {object} is not empty: {}", stored["status"]);
    }
    s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;
    ensure!(
        wait_for_members(s, 3).await? == declared.members,
        "a pod has another node id: {:?}, was {:?}",
        members(s).await?,
        declared.members
    );
    ensure!(text_of(s, "tfc/main", "clusterId").await? == declared.cluster_id, "another cluster");
    ensure!(text_of(s, "evs/orders", "storeId").await? == declared.store_id, "another store");
    load.wait_for_progress().await?;
    println!("c: the status of Cluster and store was emptied and restored");
    Ok(())
}

/// Deletes the Cluster and the store, and applies the same YAML again.
async fn everything_is_deleted_and_applied_again(
    s: &Scenario,
    target: &Target,
    yaml: String,
    declared: &Declared,
) -> anyhow::Result<()> {
    let kept = workload::read_all(target, Instant::now() + MINUTE).await?;
    s.kubectl.run(["delete", "evs/orders", "tfc/main", "--timeout=120s"]).await?;
    wait::until("the pods to be deleted", MINUTE * 2, || async {
        let left = uids(s).await.map_err(|e| e.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await?;
    let claims = s.kubectl.run(["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"]).await?;
    ensure!(claims.split_whitespace().count() == 3, "claims are {claims:?}");
    s.apply(yaml).await?;
    s.wait_stable(&["tfc/main"], MINUTE * 2).await?;
    ensure!(text_of(s, "tfc/main", "clusterId").await? == declared.cluster_id, "another cluster");
    ensure!(wait_for_members(s, 3).await? == declared.members, "a pod has another node id");
    has_reason(s, "evs/orders", "RetainedDataExists").await?;
    let found = s.get("evs/orders").await?;
    ensure!(condition_is_true(&found, "Stable").is_err(), "Stable without its events");
    s.patch("evs/orders", &json!({"spec": {"storeId": declared.store_id}})).await?;
    s.wait_stable(&["evs/orders"], MINUTE).await?;
    let again = workload::read_all(target, Instant::now() + MINUTE).await?;
    ensure!(
        !kept.is_empty() && again.starts_with(&kept),
        "{} events, before {}: the earlier events are missing or changed",
        again.len(),
        kept.len()
    );
    println!("c: deleted and applied again: the same cluster, the same ids, all {} events", kept.len());
    Ok(())
}
