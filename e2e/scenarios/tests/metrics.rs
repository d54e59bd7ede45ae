//! Metrics as seen by a Prometheus with Kubernetes discovery, compared with the events of the scenario:
//!
//! - every event is counted once, and every replica has all events;
//! - there is a single leader, equal to the leader named by the store;
//! - the operator reports its work;
//! - targets follow the pods.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test panics at the first failed check"
)]

use anyhow::{Context, ensure};
use futures::FutureExt;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use taffrail_client::{Client, Error, EventBuilder, Expected};
use taffrail_localkube::wait;
use taffrail_scenarios::{
    http,
    manifests::{cluster, event_store},
    prometheus::{Access, Prometheus, Target, lint},
    replicas::leader,
    run::run,
    scenario::{MINUTE, OPERATOR_NAMESPACE, Scenario},
};

const BATCHES: usize = 40;
/// Number of events in each batch.
const BATCH: usize = 5;
const PAYLOAD: &str = "counted";
const EVENTS: usize = BATCHES * BATCH;
const NODES: usize = 3;
/// All nodes and the operator.
const TARGETS: usize = NODES + 1;
/// Number of nodes after the scale-out.
const MORE_NODES: usize = 5;

/// Appends every batch once, through the pods in turn, so most batches are forwarded to the leader. Then sends a
/// refused append through each pod. Returns the number of calls to each pod.
async fn append(s: &Scenario) -> anyhow::Result<BTreeMap<String, usize>> {
    let endpoints = s.endpoints().await?;
    let mut clients = Vec::new();
    for (pod, endpoint) in endpoints {
        let client = Client::connect(&endpoint).await?.with_store("orders")?.with_timeout(Duration::from_secs(10));
        clients.push((pod, client));
    }
    let mut sent = BTreeMap::new();
    for (number, (pod, client)) in (0..BATCHES).zip(clients.iter().cycle()) {
        let event = || EventBuilder::new("Counted").bytes("text/plain", PAYLOAD).build();
        let events = std::iter::repeat_with(event).take(BATCH).collect();
        client.append(&format!("stream-{}", number % 7), Expected::Any, events).await?;
        *sent.entry(pod.clone()).or_default() += 1;
    }
    for (pod, client) in &clients {
        let refused = client.append("stream-0", Expected::NoStream, vec![EventBuilder::new("Refused").build()]).await;
        ensure!(
            matches!(refused, Err(Error::Rejected(_))),
            "an append with NoStream was accepted on a stream with events: {refused:?}"
        );
        *sent.entry(pod.clone()).or_default() += 1;
    }
    Ok(sent)
}

/// Waits until the targets are exactly `nodes` nodes and the operator, and all are up.
async fn all_up(prometheus: &Prometheus, nodes: usize) -> anyhow::Result<Vec<Target>> {
    let up = wait::until(&format!("{nodes} nodes and the operator to be up"), MINUTE, || async {
        let targets = prometheus.targets().await.map_err(|e| e.to_string())?;
        let of = |component: &str| targets.iter().filter(|t| t.component == component).count();
        let right = targets.len() == nodes + 1 && of("node") == nodes && of("operator") == 1;
        if right && targets.iter().all(|t| t.problem.is_none()) { Ok(targets) } else { Err(format!("{targets:?}")) }
    })
    .await?;
    Ok(up)
}

/// Waits until every target was scraped after this call, so later queries see no older values.
async fn fresh(prometheus: &Prometheus) -> anyhow::Result<()> {
    // Prometheus may shift the time of a scrape by a few milliseconds, to keep its intervals even.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() + 0.05;
    let scraped = format!("count(timestamp(up{{job=\"taffrail\"}}) > {now:.3})");
    wait::until("new scrapes", MINUTE, || async {
        let found = prometheus.number(&scraped).await.map_err(|e| e.to_string())?;
        if found == Some(TARGETS as f64) { Ok(()) } else { Err(format!("{found:?} targets")) }
    })
    .await?;
    Ok(())
}

async fn exactly(prometheus: &Prometheus, expression: &str, wanted: usize) -> anyhow::Result<()> {
    let found = prometheus.number(expression).await?;
    println!("i: {expression} is {found:?}, expected {wanted}");
    ensure!(found == Some(wanted as f64), "{expression} is {found:?}, expected {wanted}");
    Ok(())
}

/// Waits until `expression` equals `wanted`. For values with a delay on followers.
async fn becomes(prometheus: &Prometheus, expression: &str, wanted: usize) -> anyhow::Result<()> {
    wait::until(&format!("{expression} to be {wanted}"), MINUTE, || async {
        let found = prometheus.number(expression).await.map_err(|e| e.to_string())?;
        if found == Some(wanted as f64) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await?;
    exactly(prometheus, expression, wanted).await
}

async fn at_least_one(prometheus: &Prometheus, expression: &str) -> anyhow::Result<()> {
    let found = prometheus.number(expression).await?.with_context(|| format!("no {expression}"))?;
    println!("i: {expression} is {found}");
    ensure!(found >= 1.0, "{expression} is {found}");
    Ok(())
}

async fn nodes(s: &Scenario, prometheus: &Prometheus, sent: &BTreeMap<String, usize>) -> anyhow::Result<()> {
    let orders = format!("{{component=\"node\",store=\"{}/orders\"}}", s.namespace);
    exactly(prometheus, &format!("sum(taffrail_appended_events_total{orders})"), EVENTS).await?;
    exactly(prometheus, &format!("sum(taffrail_appended_bytes_total{orders}) >= bool {}", EVENTS * PAYLOAD.len()), 1)
        .await?;
    let rejected = format!("component=\"node\",store=\"{}/orders\",reason=\"WRONG_REVISION\"", s.namespace);
    exactly(prometheus, &format!("sum(taffrail_appends_rejected_total{{{rejected}}})"), sent.len()).await?;
    exactly(prometheus, "sum(taffrail_appends_rejected_total)", sent.len()).await?;
    at_least_one(prometheus, "min(taffrail_runtime_tasks)").await?;
    becomes(prometheus, &format!("count(taffrail_store_events{orders} == {EVENTS})"), 3).await?;
    becomes(prometheus, &format!("count(count_values(\"position\", taffrail_store_last_position{orders}))"), 1).await?;
    becomes(prometheus, &format!("sum(taffrail_store_quorum{orders})"), 3).await?;
    becomes(prometheus, &format!("sum(taffrail_store_worst_lag{orders})"), 0).await?;
    exactly(prometheus, &format!("sum(taffrail_store_leader{orders})"), 1).await?;
    exactly(prometheus, "sum(taffrail_coordinator)", 1).await?;
    exactly(prometheus, "sum(taffrail_ready)", 3).await?;
    exactly(prometheus, "sum(taffrail_replicas_fenced)", 0).await?;
    let leads = prometheus.query(&format!("taffrail_store_leader{orders} == 1")).await?;
    let named = leads.first().and_then(|l| l.labels.get("pod")).context("the leader has no pod")?;
    let leader = leader(s, "orders").await?;
    ensure!(*named == leader, "the leader is {named} by the metrics, {leader} by the store");
    println!("i: {leader} leads, by the metrics and by the store");
    // A call is timed on the receiving node and on the leader; the other nodes count only the calls of their clients.
    for (pod, calls) in sent.iter().filter(|(pod, _)| **pod != leader) {
        exactly(prometheus, &format!("taffrail_append_seconds_count{{pod=\"{pod}\"}}"), *calls).await?;
    }
    Ok(())
}

async fn operator(s: &Scenario, prometheus: &Prometheus) -> anyhow::Result<()> {
    for kind in ["Cluster", "EventStore"] {
        let of = format!("{{component=\"operator\",kind=\"{kind}\",result=\"ok\"}}");
        at_least_one(prometheus, &format!("sum(taffrail_operator_reconciles_total{of})")).await?;
    }
    at_least_one(prometheus, "sum(taffrail_operator_status_writes_total{component=\"operator\"})").await?;
    // The namespace of the object, beside the namespace of the operator's pod from discovery.
    let stable = format!(
        "sum(taffrail_operator_condition{{namespace=\"{OPERATOR_NAMESPACE}\",resource_namespace=\"{}\",type=\"Stable\"}})",
        s.namespace
    );
    becomes(prometheus, &stable, 2).await
}

/// Checks that no label of ours conflicts with a label of discovery: Prometheus would have renamed the label.
async fn no_label_clashes(prometheus: &Prometheus) -> anyhow::Result<()> {
    let series = prometheus.query("{__name__=~\"taffrail_.+\"}").await?;
    let renamed: Vec<_> = series.iter().filter(|s| s.labels.keys().any(|l| l.starts_with("exported_"))).collect();
    println!("i: {} series, {} with a renamed label", series.len(), renamed.len());
    ensure!(!series.is_empty() && renamed.is_empty(), "{renamed:?}");
    Ok(())
}

/// Checks names, units and help texts on every page with `promtool`.
async fn pages(targets: &[Target]) -> anyhow::Result<()> {
    let mut complaints = BTreeMap::new();
    for target in targets {
        let page = http::get(&target.url).await?;
        let metrics = page.lines().filter(|l| l.starts_with("# TYPE ")).count();
        ensure!(metrics > 0, "{} has no metrics", target.url);
        let words = lint(page).await?;
        println!("i: {} ({}) has {metrics} metrics; promtool says {words:?}", target.pod, target.component);
        if !words.is_empty() {
            complaints.insert(target.pod.clone(), words);
        }
    }
    ensure!(complaints.is_empty(), "promtool complains: {complaints:?}");
    // A linter without any complaint would prove nothing.
    let bad = "# TYPE taffrail_events counter\ntaffrail_events 1\n";
    ensure!(!lint(bad.to_owned()).await?.is_empty(), "promtool accepts a counter without _total and help");
    Ok(())
}

/// Checks that new pods become targets and deleted pods stop being targets, without a reload of the configuration.
async fn follow(s: &Scenario, prometheus: &Prometheus, before: &[Target]) -> anyhow::Result<()> {
    let configured = prometheus.configured_at().await?;
    let started = Instant::now();
    s.kubectl.run(["scale", "tfc/main", &format!("--replicas={MORE_NODES}")]).await?;
    let grown = all_up(prometheus, MORE_NODES).await?;
    let new: Vec<&Target> = grown.iter().filter(|t| !before.contains(t)).collect();
    println!("i: {} ms after the scale-out there are new targets: {new:?}", started.elapsed().as_millis());
    ensure!(new.len() == MORE_NODES - NODES, "{new:?} came after {before:?}");
    s.wait_stable(&["tfc/main", "evs/orders"], 2 * MINUTE).await?;
    let joined = format!("sum(taffrail_ready{{namespace=\"{}\",cluster=\"main\"}})", s.namespace);
    becomes(prometheus, &joined, MORE_NODES).await?;

    let lost = new.last().context("no new target")?;
    s.kubectl.delete(["pod", &lost.pod]).await?;
    let deleted = Instant::now();
    let uid = wait::until("the deleted pod to be no target", MINUTE, || async {
        let targets = prometheus.targets().await.map_err(|e| e.to_string())?;
        let stays = targets.iter().any(|t| t.uid == lost.uid);
        let next = targets.into_iter().find(|t| t.pod == lost.pod && t.uid != lost.uid);
        // Both may be absent for a moment: the new pod of the same name has another address.
        match next {
            Some(next) if !stays => Ok(next.uid),
            next => Err(format!("the old target is present: {stays}; the new target: {next:?}")),
        }
    })
    .await?;
    println!(
        "i: {} ms after the deletion of {} the new pod {uid} is the target",
        deleted.elapsed().as_millis(),
        lost.pod
    );
    all_up(prometheus, MORE_NODES).await?;
    let now = prometheus.configured_at().await?;
    ensure!(now == configured, "the configuration was loaded again, at {now} after {configured}");
    Ok(())
}

async fn scrape(s: &Scenario, prometheus: &Prometheus) -> anyhow::Result<()> {
    let targets = all_up(prometheus, NODES).await?;
    for target in &targets {
        println!("i: {} {} is up at {}", target.component, target.pod, target.url);
        ensure!(!target.uid.is_empty(), "{target:?} was not found by discovery");
    }
    let sent = append(s).await?;
    fresh(prometheus).await?;
    nodes(s, prometheus, &sent).await?;
    operator(s, prometheus).await?;
    no_label_clashes(prometheus).await?;
    pages(&targets).await?;
    follow(s, prometheus, &targets).await
}

/// Checks that Prometheus has exactly its own permissions, then starts Prometheus and runs the scenario.
async fn with_rights(s: &Scenario, access: &Access, directory: &Path) -> anyhow::Result<()> {
    for (verb, resource, wanted) in [("watch", "pods", true), ("delete", "pods", false), ("list", "secrets", false)] {
        let may = Access::may(&s.kubectl, &s.namespace, verb, resource).await?;
        ensure!(may == wanted, "permission of Prometheus to {verb} {resource} is {may}, expected {wanted}");
    }
    let prometheus = Prometheus::start(access, directory).await?;
    println!("i: Prometheus answers at {}", prometheus.address());
    let done = scrape(s, &prometheus).await;
    // Also after a failure, so no process writes to the directory during its removal.
    prometheus.end().await?;
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_what_happened_on_every_pod() {
    run("metrics", async |s| {
        s.apply(cluster(u32::try_from(NODES)?) + &event_store("orders", 3, "")).await?;
        s.wait_stable(&["tfc/main", "evs/orders"], MINUTE).await?;
        let directory = tempfile::tempdir()?;
        let access = Access::grant(&s.kubectl, directory.path(), &[&s.namespace, OPERATOR_NAMESPACE]).await?;
        let done = with_rights(s, &access, directory.path()).await;
        access.revoke(&s.kubectl).await?;
        done
    })
    .await
    .unwrap();
}

/// A panicking test must not leave a Prometheus running. Prometheus also runs without a reachable API server.
#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_ends_with_its_value() {
    let directory = tempfile::tempdir().unwrap();
    let [authority, token] = ["authority.pem", "token"].map(|name| directory.path().join(name));
    std::fs::write(&authority, include_str!("metrics/authority.pem")).unwrap();
    std::fs::write(&token, "nobody's").unwrap();
    let access = Access { server: "https://127.0.0.1:1".into(), authority, token, namespaces: vec!["default".into()] };
    let prometheus = Prometheus::start(&access, directory.path()).await.unwrap();
    let ready = format!("http://{}/-/ready", prometheus.address());
    http::get(&ready).await.unwrap();
    let fails = async move {
        let _held = prometheus;
        panic!("as a scenario that fails");
    };
    AssertUnwindSafe(fails).catch_unwind().await.unwrap_err();
    wait::until("Prometheus to be gone", MINUTE, || async {
        if http::get(&ready).await.is_err() { Ok(()) } else { Err("Prometheus still responds") }
    })
    .await
    .unwrap();
}
