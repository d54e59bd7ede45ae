//! The main scenarios on a real Kubernetes: the operator from its chart, Clusters and EventStores from YAML, writers
//! and subscribers with checked responses, and verified faults.
//!
//! Needs root, `scripts/deps.sh`, `scripts/k8s-tools.sh`, and the image archive named by `TAFFRAIL_IMAGE_ARCHIVE`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test panics at the first failed check")]

use anyhow::{Context, ensure};
use std::{collections::BTreeMap, time::Duration};
use taffrail_localkube::{audit, wait};
use taffrail_scenarios::{
    manifests::{cluster, event_store},
    members::{NodeIdHistory, wait_for_members},
    minority_probe::MinorityProbe,
    pods::{kubernetes_node, wait_ready},
    replicas::{append_and_read, check_replicas_agree, leader, node_ids},
    run::run,
    scenario::{MINUTE, Scenario},
    workload::{self, Target, Workload},
};
use tokio::time::Instant;

/// Time limit for a Service to route to its pods after the pods became Ready.
const ROUTED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn from_helm_install_to_a_stable_store_and_then_quiet() {
    run("quiet", async |s| {
        let began = jiff::Timestamp::now();
        s.apply(cluster(3) + &event_store("orders", 3, "")).await?;
        let took = s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
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
        // kube-proxy programs a new Service shortly after its pods are Ready; until then connections are refused.
        let read = ["taffrail", "read", "o-1", "--endpoint", &by_name];
        let read = wait::until("the store's Service to route to its pods", ROUTED, || s.exec("main-2", &read)).await?;
        ensure!(read.lines().count() == 1, "read through the store's Service: {read}");
        stores_are_stable_within_two_seconds(s).await?;

        let start = Instant::now();
        s.helm_test().await?;
        println!("helm test passed in {:?}", start.elapsed());
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        a_minute_without_writes_and_elections(s, began).await
    })
    .await
    .unwrap();
}

async fn stores_are_stable_within_two_seconds(s: &Scenario) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for n in 0..10 {
        let name = format!("s{n}");
        // Includes the time for sending the object.
        let start = Instant::now();
        s.apply(event_store(&name, 3, "")).await?;
        s.wait_stable(&[&format!("evs/{name}")], MINUTE).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("a single store is Stable after {:?} (median of 10, worst {:?})", times[5], times[9]);
    ensure!(times[5] < Duration::from_secs(2), "median {:?}", times[5]);
    Ok(())
}

/// k: from a minute after Stable, the operator and the nodes write nothing to the API server, and no leader is elected.
///
/// `began` is a time before the first object of the scenario: the writes since then prove that writes are counted.
async fn a_minute_without_writes_and_elections(s: &Scenario, began: jiff::Timestamp) -> anyhow::Result<()> {
    tokio::time::sleep(MINUTE + Duration::from_secs(5)).await;
    let before = terms(s).await?;
    let since = jiff::Timestamp::now();
    tokio::time::sleep(MINUTE).await;
    match s.local_kube() {
        Ok(kube) => {
            let writes = kube.writes_since(began)?;
            let (busy, quiet): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| write.at < since);
            let ours = |writes| {
                audit::by_user(writes).iter().filter(|(user, _)| user.contains("taffrail")).map(|(_, n)| *n).sum()
            };
            let (before, after): (usize, usize) = (ours(&busy), ours(&quiet));
            println!("k: {before} writes by operator and nodes before the quiet minute, {after} during the minute");
            ensure!(before > 0, "writes by operator and nodes are not counted: {:?}", audit::by_user(&busy));
            ensure!(after == 0, "the operator or a node wrote in a quiet minute: {quiet:?}");
        }
        Err(other) => println!("k: writes are not counted: {other}"),
    }
    ensure!(terms(s).await? == before, "a leader was elected in a quiet minute");
    Ok(())
}

async fn terms(scenario: &Scenario) -> anyhow::Result<BTreeMap<String, u64>> {
    let endpoints = scenario.endpoints().await?;
    let endpoint = endpoints.values().next().context("no pods")?;
    let client = taffrail_client::Client::connect(endpoint).await?;
    let mut terms: BTreeMap<String, u64> =
        client.stores(true).await?.into_iter().map(|s| (s.name.clone(), s.term())).collect();
    terms.insert("system".into(), client.cluster_status().await?.term());
    Ok(terms)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_stored_through_kills_partition_and_api_outage() {
    run("faults", async |s| {
        s.apply(cluster(3) + &event_store("orders", 3, "")).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        without_faults(s).await?;
        kills(s).await?;
        partition(s).await?;
        api_outage(s).await
    })
    .await
    .unwrap();
}

/// Creates a store, starts endless writers on the store, and waits until the writers progress.
async fn load_on_new_store(s: &Scenario, store: &str, deadline: Duration) -> anyhow::Result<(Target, Workload)> {
    s.apply(event_store(store, 3, "")).await?;
    s.wait_stable(&["tfc/main", &format!("evs/{store}")], deadline).await?;
    let target = s.target(store).await?;
    let load = Workload::start(&target, None, Duration::from_millis(5));
    load.wait_for_progress().await?;
    Ok((target, load))
}

/// b: a fixed number of appends without a fault.
async fn without_faults(s: &Scenario) -> anyhow::Result<()> {
    let target = s.target("orders").await?;
    let verdict = Workload::start(&target, Some(500), Duration::ZERO).complete(MINUTE * 4).await?;
    println!("b: {verdict:?}");
    verdict.check_undisturbed(3)?;
    check_replicas_agree(s, "orders").await?;
    Ok(())
}

/// c: the leader is killed under load, then all nodes at the same moment.
async fn kills(s: &Scenario) -> anyhow::Result<()> {
    let (target, load) = load_on_new_store(s, "killed", MINUTE).await?;
    let victim = leader(s, "killed").await?;
    let before = node_ids(s).await?;
    let _calm = load.progress().longest_gap();
    s.kill(&victim).await?;
    load.wait_for_progress().await?;
    let gap = load.progress().longest_gap();
    println!("c: {victim} led and was killed: no write was acknowledged for {gap:?}");
    ensure!(gap < Duration::from_secs(5), "no write was acknowledged for {gap:?}");
    let endpoints = s.endpoints().await?;
    wait_ready(endpoints.get(&victim).context("the killed pod has no address")?).await?;
    // Kills all nodes at the same moment.
    let pods: Vec<&str> = endpoints.keys().map(String::as_str).collect();
    s.kill_all(&pods).await?;
    for endpoint in endpoints.values() {
        wait_ready(endpoint).await?;
    }
    target.set(s.endpoints().await?);
    load.wait_for_progress().await?;
    let after = node_ids(s).await?;
    ensure!(after.len() == 3 && after == before, "node ids are {after:?} after the kills, were {before:?}");
    println!("c: all nodes were killed at once and kept their ids {after:?}");
    println!("c: {:?}", load.finish(MINUTE * 2).await?);
    check_replicas_agree(s, "killed").await?;
    Ok(())
}

/// g: the leader is cut off from the other two nodes.
async fn partition(s: &Scenario) -> anyhow::Result<()> {
    let (target, load) = load_on_new_store(s, "cut", MINUTE * 2).await?;
    let lonely = leader(s, "cut").await?;
    let node = kubernetes_node(s, &lonely).await?;
    let _calm = load.progress().longest_gap();
    s.local_kube()?.isolate(node).await?;
    let endpoint = s.endpoints().await?.remove(&lonely).context("the pod has no address")?;
    let probe = MinorityProbe::start(&endpoint, "cut").await?;
    wait::until("the minority to refuse by name", MINUTE, || async { probe.has_refused() }).await?;
    load.wait_for_progress().await?;
    let gap = load.progress().longest_gap();
    let dropped: u64 = s.local_kube()?.status().await?.cuts.iter().map(|c| c.packets_dropped).sum();
    ensure!(dropped > 0, "the partition dropped nothing");
    ensure!(gap < Duration::from_secs(5), "the majority acknowledged no write for {gap:?}");
    // All responses arrive before the cut ends, because afterwards an append may be acknowledged.
    let answers = probe.finish().await?;
    s.local_kube()?.heal().await?;
    println!("g: the minority acknowledged nothing and refused {:?}", answers.refused);
    println!("g: {lonely} led and was cut off ({dropped} packets): no write was acknowledged for {gap:?}");
    println!("g: {:?}", load.finish(MINUTE * 2).await?);
    let stored = workload::read_all(&target, Instant::now() + MINUTE).await?;
    for id in &answers.absent {
        let id = id.to_string();
        ensure!(stored.iter().all(|event| event.id != id), "{id} was refused as not stored and is stored");
    }
    check_replicas_agree(s, "cut").await?;
    Ok(())
}

/// f: neither the API server nor the operator runs while the leader is killed.
async fn api_outage(s: &Scenario) -> anyhow::Result<()> {
    let (_, load) = load_on_new_store(s, "outage", MINUTE * 2).await?;
    let killed = leader(s, "outage").await?;
    let endpoints = s.endpoints().await?;
    let before = node_ids(s).await?;
    s.scale_operator(0).await?;
    s.local_kube()?.pause_api().await?;
    let until = Instant::now() + MINUTE;
    ensure!(s.get("tfc/main").await.is_err(), "the API server still answers");
    let _calm = load.progress().longest_gap();
    // Kills the leader: the other nodes must elect a new leader, and no node can look up addresses in the API server.
    s.kill(&killed).await?;
    let start = Instant::now();
    let back = endpoints.get(&killed).context("the killed pod has no address")?;
    wait_ready(back).await?;
    println!("f: {killed} led, was killed, and is ready after {:?} without API server and operator", start.elapsed());
    let mut rounds = 0;
    while Instant::now() < until {
        load.wait_for_progress().await?;
        for endpoint in endpoints.values() {
            append_and_read(endpoint, "outage").await?;
        }
        rounds += 1;
    }
    ensure!(s.get("tfc/main").await.is_err(), "the API server answers again");
    let gap = load.progress().longest_gap();
    println!("f: {rounds} rounds of an append and a read through each pod; no write was acknowledged for {gap:?}");
    ensure!(rounds > 0 && gap < Duration::from_secs(5), "no write was acknowledged for {gap:?}");
    s.local_kube()?.resume_api().await?;
    s.scale_operator(1).await?;
    s.wait_stable(&["tfc/main", "evs/outage"], MINUTE * 3).await?;
    load.wait_for_progress().await?;
    println!("f: {:?}", load.finish(MINUTE * 2).await?);
    let after = node_ids(s).await?;
    ensure!(after == before, "node ids are {after:?} after the outage, were {before:?}");
    check_replicas_agree(s, "outage").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_scales_up_and_down_under_load_and_fifty_stores_come_and_go() {
    run("scale", async |s| {
        s.apply(cluster(3) + &event_store("orders", 3, "")).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let mut ids = NodeIdHistory::default();
        ids.record(&wait_for_members(s, 3).await?)?;
        let target = s.target("orders").await?;
        let mut load = Workload::start(&target, None, Duration::from_millis(5));
        load.wait_for_progress().await?;
        let _calm = load.progress().longest_gap();
        s.kubectl.run(["scale", "tfc/main", "--replicas=5"]).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 3).await?;
        ids.record(&wait_for_members(s, 5).await?)?;
        target.set(s.endpoints().await?);
        for pod in ["main-3", "main-4"] {
            load.subscribe_on(pod)?;
        }
        load.wait_for_progress().await?;
        s.kubectl.run(["scale", "tfc/main", "--replicas=3"]).await?;
        s.wait_for_pod_count(3).await?;
        target.set(s.endpoints().await?);
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 3).await?;
        let last = wait_for_members(s, 3).await?;
        ids.record(&last)?;
        load.wait_for_progress().await?;
        let gap = load.progress().longest_gap();
        println!("d: 3 to 5 to 3: longest write gap {gap:?}; members {last:?}");
        ensure!(gap < Duration::from_secs(3), "no write was acknowledged for {gap:?}");
        let verdict = load.finish(MINUTE * 2).await?;
        println!("d: {verdict:?}");
        ensure!(verdict.subscribers == 5 && verdict.moved >= 2, "the subscribers of removed pods did not continue");
        check_replicas_agree(s, "orders").await?;
        a_scale_down_below_a_store_is_held(s).await?;
        fifty_stores_come_and_go(s).await
    })
    .await
    .unwrap();
}

/// Scaling from three to one is blocked while `orders` requires three replicas.
async fn a_scale_down_below_a_store_is_held(s: &Scenario) -> anyhow::Result<()> {
    s.kubectl.run(["scale", "tfc/main", "--replicas=1"]).await?;
    s.wait_for_conditions("tfc/main", &["ScaleDownBlocked", "orders"], MINUTE).await?;
    ensure!(s.endpoints().await?.len() == 3, "a pod was removed although a store needs it");
    s.kubectl.run(["scale", "tfc/main", "--replicas=3"]).await?;
    s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;
    Ok(())
}

/// e: fifty stores are created at the same moment and deleted.
async fn fifty_stores_come_and_go(s: &Scenario) -> anyhow::Result<()> {
    let many: String = (0..50).map(|n| event_store(&format!("s{n}"), 3, ", deletionPolicy: Delete")).collect();
    let start = Instant::now();
    s.apply(many).await?;
    let names: Vec<String> = (0..50).map(|n| format!("evs/s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    s.wait_stable(&names, MINUTE * 2).await?;
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
}
