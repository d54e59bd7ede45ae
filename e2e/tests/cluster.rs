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
use futures::FutureExt;
use serde_json::Value;
use std::{collections::BTreeMap, panic::AssertUnwindSafe, path::PathBuf, time::Duration};
use taffrail_e2e::{
    kubectl::{Helm, Kubectl},
    localkube::{Config, LocalKube, NodeId, audit},
    wait,
    workload::{Target, Workload},
};
use tokio::{sync::Mutex, time::Instant};

const MINUTE: Duration = Duration::from_secs(60);
static MACHINE: Mutex<()> = Mutex::const_new(());

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set; run `make e2e`"))
}

/// A Kubernetes of its own, with the operator installed.
struct Scene {
    kube: LocalKube,
    kubectl: Kubectl,
}

async fn scene(name: &str, test: impl AsyncFnOnce(&Scene) -> anyhow::Result<()>) {
    let _machine = MACHINE.lock().await;
    let config = Config::new(name.parse().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_localkube")));
    LocalKube::down(&config.state_root, &config.name).await.unwrap();
    let outcome = AssertUnwindSafe(async {
        let (kube, _) = LocalKube::up(&config, &|_| {}).await?;
        kube.load_image(&PathBuf::from(setting("TAFFRAIL_IMAGE_ARCHIVE"))).await?;
        let kubectl = kube.kubectl();
        install(&kube.helm()).await?;
        let scene = Scene { kube, kubectl };
        let done = test(&scene).await;
        if done.is_err() {
            scene.tell().await;
        }
        done
    })
    .catch_unwind()
    .await;
    LocalKube::down(&config.state_root, &config.name).await.unwrap();
    match outcome {
        Ok(done) => done.unwrap(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn install(helm: &Helm) -> anyhow::Result<()> {
    let image = setting("TAFFRAIL_IMAGE");
    let (repository, tag) = image.rsplit_once(':').context("TAFFRAIL_IMAGE needs a tag")?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/taffrail");
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let args = [
        "install",
        "taffrail",
        chart,
        "--dependency-update",
        "-n",
        "taffrail-system",
        "--create-namespace",
        "--set",
        &repository,
        "--set",
        &tag,
        "--set",
        "image.pullPolicy=IfNotPresent",
        "--wait",
        "--timeout",
        "2m",
    ];
    helm.run(args).await?;
    Ok(())
}

fn cluster(replicas: u32) -> String {
    format!(
        "apiVersion: taffrail.io/v1alpha1\nkind: Cluster\nmetadata: {{name: main}}\nspec: {{replicas: {replicas}, storage: {{size: 1Gi}}}}\n"
    )
}

fn store(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "---\napiVersion: taffrail.io/v1alpha1\nkind: EventStore\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: main}}, replicas: {replicas}{more}}}\n"
    )
}

impl Scene {
    async fn apply(&self, yaml: String) -> anyhow::Result<()> {
        self.kubectl.apply(yaml).await?;
        Ok(())
    }

    async fn stable(&self, what: &[&str], deadline: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let mut args = vec!["wait", "--for=condition=Stable"];
        args.extend(what);
        args.push(&timeout);
        self.kubectl.run(args).await?;
        Ok(start.elapsed())
    }

    /// Ready pods of the Cluster and their addresses.
    async fn endpoints(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let pods = self.kubectl.json(["get", "pods", "-l", "taffrail.io/cluster=main"]).await?;
        let mut endpoints = BTreeMap::new();
        for pod in pods["items"].as_array().context("no list")? {
            let (name, ip) = (pod["metadata"]["name"].as_str(), pod["status"]["podIP"].as_str());
            if let (Some(name), Some(ip)) = (name, ip) {
                endpoints.insert(name.to_owned(), format!("http://{ip}:2113"));
            }
        }
        Ok(endpoints)
    }

    async fn target(&self, store: &str) -> anyhow::Result<Target> {
        Ok(Target::new(store, self.endpoints().await?))
    }

    async fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(self.kubectl.json(["get", what]).await?)
    }

    /// Kills the node process of a pod with SIGKILL, and shows that it is gone.
    async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        let process = process_of(pod)?;
        let gone = PathBuf::from(format!("/proc/{process}"));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(process).context("no process")?,
            rustix::process::Signal::KILL,
        )?;
        wait::until("the killed process to be gone", Duration::from_secs(10), || async {
            if gone.exists() { Err(format!("process {process} is still there")) } else { Ok(()) }
        })
        .await?;
        Ok(())
    }

    /// What a failed scenario leaves for a reader.
    async fn tell(&self) {
        for args in [
            vec!["get", "tfc,evs,pods,pvc", "-o", "wide"],
            vec!["describe", "tfc,evs"],
            vec!["logs", "-n", "taffrail-system", "deploy/taffrail-operator", "--tail=40"],
            vec!["logs", "-l", "taffrail.io/cluster=main", "--tail=15", "--prefix"],
        ] {
            match self.kubectl.run(args).await {
                Ok(text) => println!("{text}"),
                Err(e) => println!("{e}"),
            }
        }
    }
}

/// The node process of a pod, by what its environment says.
fn process_of(pod: &str) -> anyhow::Result<i32> {
    let wanted = format!("POD_NAME={pod}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let Ok(command) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let named = environment.split(|b| *b == 0).any(|v| v == wanted.as_bytes());
        if named && String::from_utf8_lossy(&command).contains("serve") {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process of pod {pod}")
}

async fn leader(scene: &Scene, store: &str) -> anyhow::Result<String> {
    let endpoints = scene.endpoints().await?;
    let nodes = scene.get("tfc/main").await?;
    for endpoint in endpoints.values() {
        let client = taffrail_client::Client::connect(endpoint).await?;
        let Ok(found) = client.store(store).await else { continue };
        let members = nodes["status"]["members"].as_array().context("no members")?;
        let member = members.iter().find(|m| m["nodeId"].as_u64() == Some(found.leader));
        if let Some(name) = member.and_then(|m| m["name"].as_str()) {
            return Ok(name.to_owned());
        }
    }
    anyhow::bail!("no leader is known")
}

/// Every pod with a replica has the same digest at the same index, and the same events.
async fn replicas_agree(scene: &Scene, store: &str) -> anyhow::Result<()> {
    let endpoints = scene.endpoints().await?;
    wait::until("all replicas to agree", MINUTE, || async {
        let mut digests = BTreeMap::new();
        for (pod, endpoint) in &endpoints {
            let client = taffrail_client::Client::connect(endpoint).await.map_err(|e| e.to_string())?;
            let found = client.store(store).await.map_err(|e| e.to_string())?;
            if !found.digest.is_empty() {
                digests.insert(pod.clone(), (found.applied_index, found.digest, found.events));
            }
        }
        let first = digests.values().next().cloned();
        if digests.len() > 1 && digests.values().all(|d| Some(d) == first.as_ref()) {
            Ok(())
        } else {
            Err(format!("{digests:?}"))
        }
    })
    .await?;
    Ok(())
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
        s.kubectl
            .exec(
                "default",
                "main-0",
                &["taffrail", "append", "o-1", "--store", "orders", "--type", "T", "--data", "1"],
            )
            .await?;
        let read = s
            .kubectl
            .exec("default", "main-2", &["taffrail", "read", "o-1", "--endpoint", "http://orders.default.svc:2113"])
            .await?;
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
        let writes = s.kube.writes_since(since)?;
        let users = audit::by_user(&writes);
        let operator: usize = users.iter().filter(|(user, _)| user.contains("taffrail")).map(|(_, n)| *n).sum();
        ensure!(operator == 0, "the operator or a node wrote {operator} times in a quiet minute: {users:?}");
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
        let verdict = Workload::start(&target, Some(250), Duration::ZERO).complete(MINUTE * 4).await?;
        println!("b: {verdict:?}");
        ensure!(
            verdict.unknown == 0 && verdict.retried > 50 && verdict.rejected > 0 && verdict.subscribers == 3,
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
        s.kube.isolate(node).await?;
        minority_refuses(s, &lonely, "cut").await?;
        load_runs(&load).await?;
        let gap = load.progress().longest_gap();
        let dropped: u64 = s.kube.status().await?.cuts.iter().map(|c| c.packets_dropped).sum();
        ensure!(dropped > 0, "the partition dropped nothing");
        ensure!(gap < Duration::from_secs(5), "the majority stood still for {gap:?}");
        s.kube.heal().await?;
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
        s.kube.pause_api().await?;
        let victim = leader(&Scene { kube: s.kube.clone(), kubectl: s.kubectl.clone() }, "orders").await;
        ensure!(victim.is_err(), "the API server still answers");
        let killed = target.pods().first().cloned().context("no pods")?;
        s.kill(&killed).await?;
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            load_runs(&load).await?;
        }
        process_of(&killed).context("the killed pod did not come back without the API server")?;
        s.kube.resume_api().await?;
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

/// Waits until a hundred more batches were acknowledged.
async fn load_runs(load: &Workload) -> anyhow::Result<()> {
    let wanted = load.progress().acknowledged() + 100;
    wait::until("appends to go on", MINUTE, || async {
        let now = load.progress().acknowledged();
        if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted}")) }
    })
    .await?;
    Ok(())
}

async fn node_of(scene: &Scene, pod: &str) -> anyhow::Result<NodeId> {
    let name = scene.kubectl.run(["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"]).await?;
    let number: u8 = name.trim().trim_start_matches("node").parse()?;
    Ok(NodeId::try_from(number).map_err(|e| anyhow::anyhow!("{e:?}"))?)
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
