//! Whatever is stopped, deleted or forgotten, in whatever order: the events stay, and each pod keeps its node id.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as it must be"
)]

use anyhow::{Context, ensure};
use std::{collections::BTreeSet, path::Path, time::Duration};
use taffrail_e2e::{
    kubectl::condition_is_true,
    members::{Ids, members, settled},
    scene::{self, MINUTE, Scene, cluster, load_runs, replicas_agree, store},
    wait,
    workload::{self, Workload},
};
use tokio::time::Instant;

const PODS: [&str; 2] = ["-l", "taffrail.io/cluster=main"];

async fn uids(s: &Scene) -> anyhow::Result<BTreeSet<String>> {
    let args = ["get", "pods", PODS[0], PODS[1], "-o", "jsonpath={.items[*].metadata.uid}"];
    Ok(s.kubectl.run(args).await?.split_whitespace().map(ToOwned::to_owned).collect())
}

/// Waits until none of the old pods is left and three new ones are Ready.
async fn renewed(s: &Scene, old: &BTreeSet<String>) -> anyhow::Result<()> {
    wait::until("new pods", MINUTE * 3, || async {
        let now = uids(s).await.map_err(|e| e.to_string())?;
        if now.len() == 3 && now.is_disjoint(old) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await?;
    s.kubectl.run(["wait", "--for=condition=Ready", "pod", PODS[0], PODS[1], "--timeout=120s"]).await?;
    Ok(())
}

async fn has_reason(s: &Scene, object: &str, reason: &str) -> anyhow::Result<()> {
    wait::until(&format!("{object} to say {reason}"), MINUTE * 2, || async {
        let found = s.get(object).await.map_err(|e| e.to_string())?;
        let all = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if all.iter().any(|c| c["reason"] == reason) { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_stops_deletions_and_forgetting_keeps_events_and_ids() {
    scene::run("survival", Path::new(env!("CARGO_BIN_EXE_localkube")), async |s| {
        let yaml = cluster(3) + &store("orders", 3, "");
        s.apply(yaml.clone()).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let before = settled(s, 3).await?;
        ensure!(before.len() == 3, "{before:?}");
        let mut ids = Ids::default();
        ids.see(&before)?;
        let target = s.target("orders").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load_runs(&load).await?;

        // all pods gracefully at once
        let old = uids(s).await?;
        s.kubectl.run(["delete", "pods", PODS[0], PODS[1], "--wait=false"]).await?;
        renewed(s, &old).await?;
        target.set(s.endpoints().await?);
        load_runs(&load).await?;
        println!("c: all pods were deleted gracefully at once and came back");

        // the StatefulSet
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
        target.set(s.endpoints().await?);
        load_runs(&load).await?;
        println!("c: the StatefulSet was deleted and came back");

        // the status of both
        let operator = ["-n", "taffrail-system", "rollout"];
        for object in ["tfc/main", "evs/orders"] {
            let patch = "{\"status\":null}";
            s.kubectl.run(["patch", object, "--subresource=status", "--type=merge", "-p", patch]).await?;
        }
        s.kubectl.run([operator.as_slice(), &["restart", "deploy/taffrail-operator"]].concat()).await?;
        let wait_for = ["status", "deploy/taffrail-operator", "--timeout=90s"];
        s.kubectl.run([operator.as_slice(), wait_for.as_slice()].concat()).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;
        ensure!(settled(s, 3).await? == before, "a pod has another node id: {:?}, was {before:?}", members(s).await?);
        load_runs(&load).await?;
        println!("c: the status of both was emptied and is as before; {:?}", load.finish(MINUTE * 2).await?);
        replicas_agree(s, "orders").await?;

        // everything deleted, the same YAML again
        let kept = workload::read_all(&target, Instant::now() + MINUTE).await?;
        let found = s.get("tfc/main").await?;
        let cluster_id = found["status"]["clusterId"].as_str().context("no clusterId")?.to_owned();
        let found = s.get("evs/orders").await?;
        let store_id = found["status"]["storeId"].as_str().context("no storeId")?.to_owned();
        s.kubectl.run(["delete", "evs/orders", "tfc/main", "--timeout=120s"]).await?;
        wait::until("the pods to go", MINUTE * 2, || async {
            let left = uids(s).await.map_err(|e| e.to_string())?;
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await?;
        let claims = s.kubectl.run(["get", "pvc", "-o", "jsonpath={.items[*].metadata.name}"]).await?;
        ensure!(claims.split_whitespace().count() == 3, "claims are {claims:?}");
        s.apply(yaml).await?;
        s.stable(&["tfc/main"], MINUTE * 2).await?;
        let found = s.get("tfc/main").await?;
        ensure!(found["status"]["clusterId"] == cluster_id.as_str(), "another cluster: {}", found["status"]);
        ensure!(settled(s, 3).await? == before, "a pod has another node id");
        has_reason(s, "evs/orders", "RetainedDataExists").await?;
        let found = s.get("evs/orders").await?;
        ensure!(condition_is_true(&found, "Stable").is_err(), "Stable without its events");
        let patch = format!("{{\"spec\":{{\"storeId\":\"{store_id}\"}}}}");
        s.kubectl.run(["patch", "evs/orders", "--type=merge", "-p", &patch]).await?;
        s.stable(&["evs/orders"], MINUTE).await?;
        target.set(s.endpoints().await?);
        let again = workload::read_all(&target, Instant::now() + MINUTE).await?;
        ensure!(!kept.is_empty() && again == kept, "{} events, were {}", again.len(), kept.len());
        println!("c: deleted and applied again: the same cluster, the same ids, all {} events", kept.len());
        let load = Workload::start(&target, Some(10), Duration::ZERO).complete(MINUTE).await;
        ensure!(load.is_err() || load.is_ok_and(|v| v.acknowledged > 0), "the store takes no more appends");
        replicas_agree(s, "orders").await
    })
    .await
    .unwrap();
}
