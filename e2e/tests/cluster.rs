//! The main job on a real Kubernetes: the operator from its chart, Clusters and EventStores from YAML, writers and
//! subscribers whose every answer is checked, and faults that are shown to have happened.
//!
//! Needs root, `scripts/deps.sh`, `scripts/k8s-tools.sh`, and the image that `TAFFRAIL_IMAGE_ARCHIVE` names.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as it must be"
)]

use anyhow::{Context, ensure};
use std::{collections::BTreeMap, path::Path, time::Duration};
use taffrail_e2e::{
    localkube::audit,
    scene::{self, MINUTE, Scene, cluster, leader, load_runs, node_of, process_of, replicas_agree, store},
    wait,
    workload::Workload,
};
use tokio::time::Instant;

async fn scene(name: &str, test: impl AsyncFnOnce(&Scene) -> anyhow::Result<()>) {
    scene::run(name, Path::new(env!("CARGO_BIN_EXE_localkube")), test).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn from_helm_install_to_a_stable_store_and_then_quiet() {
    scene("quiet", async |s| {
        s.apply(cluster(3) + &store("orders", 3, "")).await?;
        let took = s.stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        println!("Stable after {took:?}");
        let nodes: std::collections::BTreeSet<String> = s
            .kubectl
            .run(["get", "pods", "-l", "taffrail.io/cluster=main", "-o", "jsonpath={.items[*].spec.nodeName}"])
            .await?
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect();
        ensure!(nodes.len() == 3, "three pods on {nodes:?}");
        s.exec("main-0", &["taffrail", "append", "o-1", "--store", "orders", "--type", "T", "--data", "1"]).await?;
        let by_name = format!("http://orders.{}.svc:2113", s.namespace);
        let read = s.exec("main-2", &["taffrail", "read", "o-1", "--endpoint", &by_name]).await?;
        ensure!(read.lines().count() == 1, "by the store's own name: {read}");
        let mut times = Vec::new();
        for n in 0..10 {
            let name = format!("s{n}");
            s.apply(store(&name, 3, "")).await?;
            times.push(s.stable(&[&format!("evs/{name}")], MINUTE).await?);
        }
        times.sort_unstable();
        println!("a single store is Stable after {:?} (median of 10, worst {:?})", times[5], times[9]);
        ensure!(times[5] < Duration::from_secs(2), "median {:?}", times[5]);

        // k: a minute after Stable nobody writes and nobody is elected
        tokio::time::sleep(MINUTE + Duration::from_secs(5)).await;
        let before = terms(s).await?;
        let since = jiff::Timestamp::now();
        tokio::time::sleep(MINUTE).await;
        match s.kube() {
            Ok(kube) => {
                let writes = kube.writes_since(since)?;
                let users = audit::by_user(&writes);
                let operator: usize = users.iter().filter(|(user, _)| user.contains("taffrail")).map(|(_, n)| *n).sum();
                ensure!(operator == 0, "the operator or a node wrote {operator} times in a quiet minute: {users:?}");
            }
            Err(other) => println!("k: writes are not counted: {other}"),
        }
        ensure!(terms(s).await? == before, "somebody was elected in a quiet minute");
        Ok(())
    })
    .await;
}

async fn terms(scene: &Scene) -> anyhow::Result<BTreeMap<String, u64>> {
    let endpoints = scene.endpoints().await?;
    let endpoint = endpoints.values().next().context("no pods")?;
    let client = taffrail_client::Client::connect(endpoint).await?;
    let mut terms: BTreeMap<String, u64> = client.stores(true).await?.into_iter().map(|s| (s.name, s.term)).collect();
    terms.insert("system".into(), client.cluster_status().await?.term);
    Ok(terms)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_stored_through_kills_partition_and_api_outage() {
    scene("faults", async |s| {
        s.apply(cluster(3) + &store("orders", 3, "")).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let target = s.target("orders").await?;

        // b: a fixed number of appends, nothing broken
        let verdict = Workload::start(&target, Some(500), Duration::ZERO).complete(MINUTE * 4).await?;
        println!("b: {verdict:?}");
        ensure!(
            verdict.unknown == 0 && verdict.retried >= 500 && verdict.rejected > 0 && verdict.subscribers == 3,
            "{verdict:?}"
        );
        replicas_agree(s, "orders").await?;

        // c: the leader is killed under load
        s.apply(store("killed", 3, "")).await?;
        s.stable(&["evs/killed"], MINUTE).await?;
        let target = s.target("killed").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load_runs(&load).await?;
        let victim = leader(s, "killed").await?;
        let _calm = load.progress().longest_gap();
        s.kill(&victim).await?;
        load_runs(&load).await?;
        let gap = load.progress().longest_gap();
        println!("c: {victim} led and was killed: writes stood still for {gap:?}");
        ensure!(gap < Duration::from_secs(5), "writes stood still for {gap:?}");
        s.kubectl.run(["wait", "--for=condition=Ready", &format!("pod/{victim}"), "--timeout=90s"]).await?;
        // all at once
        let pods: Vec<String> = s.endpoints().await?.into_keys().collect();
        for pod in pods {
            s.kill(&pod).await?;
        }
        s.kubectl
            .run(["wait", "--for=condition=Ready", "pod", "-l", "taffrail.io/cluster=main", "--timeout=120s"])
            .await?;
        target.set(s.endpoints().await?);
        load_runs(&load).await?;
        println!("c: {:?}", load.finish(MINUTE * 2).await?);
        replicas_agree(s, "killed").await?;

        // g: one node is cut from the other two
        s.apply(store("cut", 3, "")).await?;
        s.stable(&["tfc/main", "evs/cut"], MINUTE * 2).await?;
        let lonely = leader(s, "cut").await?;
        let node = node_of(s, &lonely).await?;
        let target = s.target("cut").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load_runs(&load).await?;
        let _calm = load.progress().longest_gap();
        s.kube()?.isolate(node).await?;
        minority_refuses(s, &lonely, "cut").await?;
        load_runs(&load).await?;
        let gap = load.progress().longest_gap();
        let dropped: u64 = s.kube()?.status().await?.cuts.iter().map(|c| c.packets_dropped).sum();
        ensure!(dropped > 0, "the partition dropped nothing");
        ensure!(gap < Duration::from_secs(5), "the majority stood still for {gap:?}");
        s.kube()?.heal().await?;
        println!("g: {lonely} led and was cut off ({dropped} packets): writes stood still for {gap:?}");
        println!("g: {:?}", load.finish(MINUTE * 2).await?);
        replicas_agree(s, "cut").await?;

        // f: no API server, no operator
        s.apply(store("outage", 3, "")).await?;
        s.stable(&["tfc/main", "evs/outage"], MINUTE * 2).await?;
        let target = s.target("outage").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load_runs(&load).await?;
        s.kubectl.run(["-n", "taffrail-system", "delete", "pod", "--all", "--wait=false"]).await?;
        s.kube()?.pause_api().await?;
        ensure!(leader(s, "orders").await.is_err(), "the API server still answers");
        let killed = target.pods().first().cloned().context("no pods")?;
        s.kill(&killed).await?;
        let until = Instant::now() + MINUTE;
        while Instant::now() < until {
            load_runs(&load).await?;
        }
        process_of(&killed).context("the killed pod did not come back without the API server")?;
        s.kube()?.resume_api().await?;
        println!("f: {:?}", load.finish(MINUTE * 2).await?);
        s.stable(&["tfc/main", "evs/outage"], MINUTE * 3).await?;
        replicas_agree(s, "outage").await?;
        Ok(())
    })
    .await;
}

/// A pod that is cut off never acknowledges, and says why once it knows.
async fn minority_refuses(scene: &Scene, pod: &str, store: &str) -> anyhow::Result<()> {
    let endpoints = scene.endpoints().await?;
    let endpoint = endpoints.get(pod).context("the pod has no address")?;
    let client =
        taffrail_client::Client::connect(endpoint).await?.with_store(store)?.with_timeout(Duration::from_secs(2));
    let (client, acknowledged) = (&client, std::sync::atomic::AtomicBool::new(false));
    let acknowledged = &acknowledged;
    wait::until("the minority to refuse by name", Duration::from_secs(30), || async move {
        let event = taffrail_client::EventBuilder::new("Lonely").build();
        match client.append("lonely", taffrail_client::Expected::Any, vec![event]).await {
            Ok(_) => {
                acknowledged.store(true, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            Err(taffrail_client::Error::Unavailable { reason, .. }) if !reason.is_empty() => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    })
    .await?;
    ensure!(!acknowledged.load(std::sync::atomic::Ordering::Relaxed), "{pod} acknowledged without a majority");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_scales_up_and_down_under_load_and_fifty_stores_come_and_go() {
    scene("scale", async |s| {
        s.apply(cluster(3) + &store("orders", 3, "")).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let target = s.target("orders").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load_runs(&load).await?;
        let _calm = load.progress().longest_gap();
        s.kubectl.run(["scale", "tfc/main", "--replicas=5"]).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE * 3).await?;
        target.set(s.endpoints().await?);
        load_runs(&load).await?;
        s.kubectl.run(["scale", "tfc/main", "--replicas=3"]).await?;
        wait::until("two pods to leave", MINUTE * 3, || async {
            let pods = s.endpoints().await.map_err(|e| e.to_string())?;
            if pods.len() == 3 { Ok(()) } else { Err(format!("{} pods", pods.len())) }
        })
        .await?;
        target.set(s.endpoints().await?);
        s.stable(&["tfc/main", "evs/orders"], MINUTE * 3).await?;
        load_runs(&load).await?;
        let gap = load.progress().longest_gap();
        println!("d: 3 to 5 to 3: longest write gap {gap:?}");
        ensure!(gap < Duration::from_secs(3), "writes stood still for {gap:?}");
        println!("d: {:?}", load.finish(MINUTE * 2).await?);

        // three to one does not fit while orders wants three
        s.kubectl.run(["scale", "tfc/main", "--replicas=1"]).await?;
        wait::until("the scale-down to be held", MINUTE, || async {
            let found = s.get("tfc/main").await.map_err(|e| e.to_string())?;
            let text = found["status"]["conditions"].to_string();
            if text.contains("ScaleDownBlocked") && text.contains("orders") { Ok(()) } else { Err(text) }
        })
        .await?;
        ensure!(s.endpoints().await?.len() == 3, "a pod left though a store needs it");
        s.kubectl.run(["scale", "tfc/main", "--replicas=3"]).await?;
        s.stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;

        // e: fifty at once
        let many: String = (0..50).map(|n| store(&format!("s{n}"), 3, ", deletionPolicy: Delete")).collect();
        let start = Instant::now();
        s.apply(many).await?;
        let names: Vec<String> = (0..50).map(|n| format!("evs/s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        s.stable(&names, MINUTE * 2).await?;
        println!("e: 50 stores are Stable after {:?}", start.elapsed());
        ensure!(start.elapsed() < MINUTE, "50 stores took {:?}", start.elapsed());
        let mut delete = vec!["delete"];
        delete.extend(&names);
        delete.push("--timeout=120s");
        s.kubectl.run(delete).await?;
        let endpoint = s.endpoints().await?.into_values().next().context("no pods")?;
        let left = taffrail_client::Client::connect(&endpoint).await?.stores(true).await?;
        ensure!(left.len() == 1, "{} stores are left", left.len());
        Ok(())
    })
    .await;
}
