//! Changes of pods and disks by scaling, loss and misconfiguration. No acknowledged event is lost and no node
//! id is reused.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test panics at the first failed check")]

use anyhow::{Context, ensure};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use taffrail_client::Client;
use taffrail_localkube::wait;
use taffrail_proto::v1;
use taffrail_scenarios::{
    disk_faults,
    manifests::{cluster, event_store},
    members::{NodeIdHistory, group_count, members, wait_for_members},
    pods::wait_ready,
    replicas::check_replicas_agree,
    run::run,
    scenario::{MINUTE, Scenario},
    stopped_process::StoppedProcess,
    workload::Workload,
};
use tokio::time::Instant;

async fn set_replicas(s: &Scenario, object: &str, replicas: u32) -> anyhow::Result<()> {
    s.patch(object, &json!({"spec": {"replicas": replicas}})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_to_one_to_three_and_every_kind_of_lost_disk() {
    run("membership", async |s| {
        s.apply(cluster(3) + &event_store("orders", 3, "")).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let mut ids = NodeIdHistory::default();
        let first = wait_for_members(s, 3).await?;
        ids.record(&first)?;
        let target = s.target("orders").await?;
        let load = Workload::start(&target, None, Duration::from_millis(5));
        load.wait_for_progress().await?;
        let _following = s.follow_pods(&target);
        let _calm = load.progress().longest_gap();

        // Three to one: the store blocks the removal of pods, until it needs only one replica.
        s.kubectl.run(["scale", "tfc/main", "--replicas=1"]).await?;
        s.wait_for_conditions("tfc/main", &["ScaleDownBlocked", "orders"], MINUTE * 2).await?;
        ensure!(s.endpoints().await?.len() == 3, "a pod was removed although a store needs it");
        set_replicas(s, "evs/orders", 1).await?;
        s.wait_for_pod_count(1).await?;
        ids.record(&wait_for_members(s, 1).await?)?;
        load.wait_for_progress().await?;

        // One to three: the volumes are reused, and their disks join as new nodes.
        s.kubectl.run(["scale", "tfc/main", "--replicas=3"]).await?;
        s.wait_for_pod_count(3).await?;
        let third = wait_for_members(s, 3).await?;
        ids.record(&third)?;
        for pod in ["main-1", "main-2"] {
            let (was, is) = (first[pod].node, third[pod].node);
            ensure!(is != was, "{pod} came back as node {was}");
            ensure!(disk_faults::has_retired_data(pod, was)?, "the volume of {pod} has no retired data of node {was}");
            println!("d: the volume of {pod} came back as node {is} and keeps retired/{was}");
        }
        set_replicas(s, "evs/orders", 3).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;
        load.wait_for_progress().await?;
        let gap = load.progress().longest_gap();
        println!("d: 3 to 1 to 3: longest write gap {gap:?}; members {third:?}");
        ensure!(gap < Duration::from_secs(3), "no write was acknowledged for {gap:?}");

        // An emptied volume under an existing pod name.
        disk_faults::wipe(s, "main-1").await?;
        replaced(s, "main-1", third["main-1"].node).await?;
        let fourth = wait_for_members(s, 3).await?;
        ids.record(&fourth)?;
        s.wait_stable(&["evs/orders"], MINUTE * 2).await?;
        load.wait_for_progress().await?;
        println!("d: main-1 lost its disk: was node {}, is node {}", third["main-1"].node, fourth["main-1"].node);

        // A volume of another cluster.
        let other = cluster(1).replace("main", "other");
        s.apply(other).await?;
        s.wait_stable(&["tfc/other"], MINUTE).await?;
        disk_faults::replace_with_copy_of(s, "main-2", "other-0").await?;
        s.wait_for_conditions("tfc/main", &["ForeignVolumes", "main-2"], MINUTE * 2).await?;
        let refused = members(s).await?;
        ensure!(
            refused.get("main-2").is_none_or(|m| m.node == fourth["main-2"].node),
            "a foreign disk became a member: {refused:?}"
        );
        load.wait_for_progress().await?;
        println!("d: a foreign volume is refused");
        disk_faults::wipe(s, "main-2").await?;
        replaced(s, "main-2", fourth["main-2"].node).await?;
        ids.record(&wait_for_members(s, 3).await?)?;
        s.wait_stable(&["evs/orders"], MINUTE * 2).await?;
        load.wait_for_progress().await?;
        println!("d: {:?}", load.finish(MINUTE * 2).await?);
        check_replicas_agree(s, "orders").await
    })
    .await
    .unwrap();
}

/// Waits until the pod has a node id other than `was`.
async fn replaced(s: &Scenario, pod: &str, was: u64) -> anyhow::Result<()> {
    wait::until(&format!("{pod} to have a node id other than {was}"), MINUTE * 3, || async {
        let now = members(s).await.map_err(|e| e.to_string())?;
        match now.get(pod) {
            Some(m) if m.node != was => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_pods_keep_what_they_acknowledge_and_fifty_stores_are_deleted_through_kills() {
    run("five", async |s| {
        s.apply(cluster(5) + &event_store("orders", 3, "")).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE * 2).await?;
        let target = s.target("orders").await?;
        let verdict = Workload::start(&target, Some(500), Duration::ZERO).complete(MINUTE * 4).await?;
        println!("b: five pods, three replicas: {verdict:?}");
        verdict.check_undisturbed(5)?;
        check_replicas_agree(s, "orders").await?;

        // e: each node is killed while fifty stores are deleted
        let many: String = (0..50).map(|n| event_store(&format!("s{n}"), 3, ", deletionPolicy: Delete")).collect();
        s.apply(many).await?;
        let names: Vec<String> = (0..50).map(|n| format!("evs/s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        s.wait_stable(&names, MINUTE * 2).await?;
        let endpoints = s.endpoints().await?;
        for (pod, some) in endpoints.keys().zip(names.chunks(10)) {
            killed_in_the_middle(s, &endpoints, pod, some).await?;
        }
        wait::until("the EventStores to be deleted", MINUTE * 3, || async {
            let left = s.store_count().await.map_err(|e| e.to_string())?;
            if left == 1 { Ok(()) } else { Err(format!("{left} EventStores")) }
        })
        .await?;
        let mut total = 0;
        for pod in ["main-0", "main-1", "main-2", "main-3", "main-4"] {
            let endpoint = s.endpoints().await?.remove(pod).context("no such pod")?;
            wait::until("the stores to be removed from the catalogue", MINUTE, || async {
                let client = Client::connect(&endpoint).await.map_err(|e| e.to_string())?;
                let left = client.stores(true).await.map_err(|e| e.to_string())?;
                if left.len() == 1 { Ok(()) } else { Err(format!("{} stores on {pod}", left.len())) }
            })
            .await?;
            total += group_count(s, pod).await?;
        }
        // Five replicas of the system group, three of the remaining store.
        ensure!(total == 8, "{total} replicas are left");
        check_replicas_agree(s, "orders").await
    })
    .await
    .unwrap();
}

/// Stores under removal on a pod before the pod is killed.
const REMOVALS_MIN: usize = 3;

/// Stops the process of a pod, deletes stores with a replica on the pod, and kills the pod as soon as the process goes on,
/// while the removals wait for the pod. Checks that the removal was incomplete when the pod was dead. The fault points of
/// `node/tests` end a process between the steps of a removal on its own disk.
async fn killed_in_the_middle(
    s: &Scenario,
    endpoints: &BTreeMap<String, String>,
    pod: &str,
    deleted: &[&str],
) -> anyhow::Result<()> {
    let endpoint = endpoints.get(pod).context("no such pod")?;
    let (_, other) = endpoints.iter().find(|(name, _)| *name != pod).context("no other pod")?;
    let node = Client::connect(endpoint).await?.cluster_status().await?.answered_by_node_id;
    let looker = Client::connect(other).await?;
    let being_removed = async || {
        let stores = looker.stores(true).await?;
        let here = |store: &v1::Store| store.members.iter().any(|replica| replica.node_id == node);
        let removing = |store: &v1::Store| store.state() == v1::StoreState::Removing;
        let names = stores.into_iter().filter(|store| removing(store) && here(store)).map(|store| store.name);
        anyhow::Ok(names.collect::<BTreeSet<String>>())
    };
    let before = being_removed().await?;
    ensure!(before.is_empty(), "{before:?} are being removed before the next are deleted");
    let stopped = StoppedProcess::of(pod)?;
    s.kubectl.run([&["delete", "--wait=false"], deleted].concat()).await?;
    let end = Instant::now() + MINUTE;
    let begun = loop {
        let begun = being_removed().await?;
        if begun.len() >= REMOVALS_MIN {
            break begun;
        }
        ensure!(Instant::now() < end, "{begun:?} are being removed, and have a replica on {pod}");
    };
    drop(stopped);
    s.kill(pod).await?;
    let left = being_removed().await?;
    println!("e: {pod} was killed during the removal of {begun:?}; after its death {left:?} were still being removed");
    ensure!(begun.intersection(&left).next().is_some(), "{pod} was killed after the removal, not in the middle of it");
    wait_ready(endpoint).await?;
    wait::until("the deleted stores to be removed", MINUTE * 2, || async {
        let left = looker.stores(true).await.map_err(|e| e.to_string())?;
        let left: Vec<_> =
            left.iter().map(|store| &store.name).filter(|n| deleted.contains(&&*format!("evs/{n}"))).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are left")) }
    })
    .await?;
    Ok(())
}
