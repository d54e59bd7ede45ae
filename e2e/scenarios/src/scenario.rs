//! One scenario on a Kubernetes of its own: the operator installed from its chart, objects applied as YAML, pods found,
//! killed and compared. What fails leaves the objects and the last log lines in the test's output.
//!
//! Needs root, `scripts/deps.sh`, `scripts/k8s-tools.sh`, and the image that `TAFFRAIL_IMAGE_ARCHIVE` names.

use crate::{
    cluster::{self, FaultsUnavailable, TestCluster},
    command::Run,
    kubectl::{Helm, Kubectl},
    localkube::{Config, LocalKube, NodeId},
    wait,
    workload::{self, Target, Workload},
};
use anyhow::{Context, ensure};
use futures::FutureExt;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};
use taffrail_proto::v1;
use tokio::{sync::Mutex, time::Instant};

/// How long most things may take.
pub const MINUTE: Duration = Duration::from_secs(60);
/// The namespace of the operator.
const OPERATOR: &str = "taffrail-system";
/// How often a followed target is looked at: well below the time that a stopping pod still takes calls.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// Scenarios of one test binary take turns: they share the machine's cores, and figures are measured.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// A Kubernetes with the operator installed, and a namespace for the scenario's objects.
pub struct Scene {
    cluster: TestCluster,
    /// `kubectl` for it, in the scenario's namespace.
    pub kubectl: Kubectl,
    /// The scenario's namespace.
    pub namespace: String,
}

fn setting(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} must be set; run `make e2e`"))
}

/// Runs `test` on a new cluster called `name` and takes the cluster down whatever happens; with
/// `TAFFRAIL_CLUSTER=existing`, in a namespace of its own on the cluster of `KUBECONFIG`, which must be able to pull
/// `TAFFRAIL_IMAGE`. `machine` is the `localkube` binary, which only an integration test of this package can name.
///
/// # Errors
/// What the test answers, or why there is no cluster.
pub async fn run(
    name: &str,
    machine: &Path,
    test: impl AsyncFnOnce(&Scene) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _machine = MACHINE.lock().await;
    if cluster::is_existing() {
        return on_existing(name, test).await;
    }
    let config = Config::new(name.parse()?, machine.to_owned());
    LocalKube::down(&config.state_root, &config.name).await?;
    let outcome = AssertUnwindSafe(async {
        let cluster = TestCluster::from_environment(&config, &|_| {}).await?;
        cluster.faults("loads an image")?.load_image(&PathBuf::from(setting("TAFFRAIL_IMAGE_ARCHIVE")?)).await?;
        install(&cluster.helm()).await?;
        let kubectl = cluster.kubectl();
        perform(Scene { cluster, kubectl, namespace: "default".into() }, test).await
    })
    .catch_unwind()
    .await;
    LocalKube::down(&config.state_root, &config.name).await?;
    match outcome {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The namespace and everything in it goes at the end; the operator stays, as it may have been there before.
async fn on_existing(name: &str, test: impl AsyncFnOnce(&Scene) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let cluster = TestCluster::existing();
    let namespace = format!("taffrail-e2e-{name}");
    let kubectl = cluster.kubectl().in_namespace(&namespace);
    install(&cluster.helm()).await?;
    let object = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.kubectl().apply(object.to_string()).await?;
    let scene = Scene { cluster, kubectl, namespace: namespace.clone() };
    let outcome = AssertUnwindSafe(perform(scene, test)).catch_unwind().await;
    let cleaner = TestCluster::existing().kubectl();
    let inside = cleaner.in_namespace(&namespace);
    inside.delete(["eventstores.taffrail.io,clusters.taffrail.io", "--all"]).await?;
    cleaner.delete(["namespace", &namespace]).await?;
    match outcome {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn perform(scene: Scene, test: impl AsyncFnOnce(&Scene) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let done = test(&scene).await;
    if done.is_err() {
        scene.tell().await;
    }
    done
}

async fn install(helm: &Helm) -> anyhow::Result<()> {
    let image = setting("TAFFRAIL_IMAGE")?;
    let (repository, tag) = image.rsplit_once(':').context("TAFFRAIL_IMAGE needs a tag")?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/taffrail");
    // Not `--dependency-update`: that leaves an older package of the CRDs as it is.
    helm.run(["dependency", "build", chart]).await?;
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let args = [
        "upgrade",
        "--install",
        "taffrail",
        chart,
        "-n",
        OPERATOR,
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

/// A Cluster `main`.
#[must_use]
pub fn cluster(replicas: u32) -> String {
    format!(
        "apiVersion: taffrail.io/v1alpha1\nkind: Cluster\nmetadata: {{name: main}}\nspec: {{replicas: {replicas}, storage: {{size: 1Gi}}}}\n"
    )
}

/// A further document with an EventStore of `main`; `more` goes on the fields of its spec, as in `, deletionPolicy: Delete`.
#[must_use]
pub fn store(name: &str, replicas: u32, more: &str) -> String {
    format!(
        "---\napiVersion: taffrail.io/v1alpha1\nkind: EventStore\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: main}}, replicas: {replicas}{more}}}\n"
    )
}

impl Scene {
    /// The machine of the cluster, to break it.
    ///
    /// # Errors
    /// When the cluster is not ours.
    pub fn kube(&self) -> Result<&LocalKube, FaultsUnavailable> {
        self.cluster.faults("breaks the machine")
    }

    /// Runs a command in a pod of the scenario.
    ///
    /// # Errors
    /// When it fails.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> anyhow::Result<String> {
        Ok(self.kubectl.exec(&self.namespace, pod, command).await?)
    }

    /// Applies YAML.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, yaml: String) -> anyhow::Result<()> {
        self.kubectl.apply(yaml).await?;
        Ok(())
    }

    /// Waits until all of `what` are Stable, and says how long that took.
    ///
    /// # Errors
    /// When they are not within `deadline`.
    pub async fn stable(&self, what: &[&str], deadline: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let mut args = vec!["wait", "--for=condition=Stable"];
        args.extend(what);
        args.push(&timeout);
        self.kubectl.run(args).await?;
        Ok(start.elapsed())
    }

    /// Pods of the Cluster that have an address, with their client endpoints.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn endpoints(&self) -> anyhow::Result<BTreeMap<String, String>> {
        endpoints(&self.kubectl, |_| true).await
    }

    /// Keeps a target at the pods that are not about to go, as a Service does for its clients, until the answer is
    /// dropped.
    #[must_use]
    pub fn follow(&self, target: &Target) -> Following {
        let (kubectl, target) = (self.kubectl.clone(), target.clone());
        #[expect(clippy::disallowed_methods, reason = "the seam is the node's; `Following` owns this task and ends it")]
        let task = tokio::spawn(async move {
            let mut turns = tokio::time::interval(FOLLOW_EVERY);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let staying = endpoints(&kubectl, |pod| pod["metadata"]["deletionTimestamp"].is_null()).await;
                if let Some(staying) = staying.ok().filter(|s| !s.is_empty()) {
                    target.set(staying);
                }
            }
        });
        Following(task)
    }

    /// A workload's target: this store through the pods of now.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn target(&self, store: &str) -> anyhow::Result<Target> {
        Ok(Target::new(store, self.endpoints().await?))
    }

    /// One object, as in `tfc/main`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, what: &str) -> anyhow::Result<Value> {
        Ok(self.kubectl.json(["get", what]).await?)
    }

    /// How many EventStores there are.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn stores_left(&self) -> anyhow::Result<usize> {
        let found = self.kubectl.json(["get", "evs"]).await?;
        Ok(found["items"].as_array().map_or(0, Vec::len))
    }

    /// Kills the node process of a pod with SIGKILL, and shows that it is gone.
    ///
    /// # Errors
    /// When there is no such process, or it stays.
    pub async fn kill(&self, pod: &str) -> anyhow::Result<()> {
        self.kill_all(&[pod]).await
    }

    /// The same with several pods at the same moment: all are sent the signal before any is waited for.
    ///
    /// # Errors
    /// When one of them has no process, or it stays.
    pub async fn kill_all(&self, pods: &[&str]) -> anyhow::Result<()> {
        self.kube()?;
        let processes = pods.iter().map(|pod| process_of(pod)).collect::<anyhow::Result<Vec<i32>>>()?;
        for process in &processes {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(*process).context("no process")?,
                rustix::process::Signal::KILL,
            )?;
        }
        for process in processes {
            let gone = PathBuf::from(format!("/proc/{process}"));
            wait::until("the killed process to be gone", Duration::from_secs(10), || async {
                if gone.exists() { Err(format!("process {process} is still there")) } else { Ok(()) }
            })
            .await?;
        }
        Ok(())
    }

    /// `helm test` of the operator's release.
    ///
    /// # Errors
    /// When it fails.
    pub async fn helm_test(&self) -> anyhow::Result<()> {
        let Err(failed) = self.cluster.helm().run(["test", "taffrail", "-n", OPERATOR, "--timeout", "4m"]).await else {
            return Ok(());
        };
        // helm says only that the pod failed
        let log = self.kubectl.run(["-n", OPERATOR, "logs", "taffrail-operator-test"]).await;
        Err(failed).with_context(|| log.unwrap_or_else(|e| e.to_string()))
    }

    /// Runs as many operators as said, and waits until there are exactly so many pods, stopping ones included.
    ///
    /// # Errors
    /// When there are not within a minute.
    pub async fn scale_operator(&self, replicas: usize) -> anyhow::Result<()> {
        let wanted = format!("--replicas={replicas}");
        self.kubectl.run(["-n", OPERATOR, "scale", "deploy/taffrail-operator", &wanted]).await?;
        wait::until(&format!("{replicas} operators"), MINUTE, || async {
            let args = ["-n", OPERATOR, "get", "pods", "-l", "app.kubernetes.io/component=operator"];
            let pods = self.kubectl.json(args).await.map_err(|e| e.to_string())?;
            let found = pods["items"].as_array().map_or(0, Vec::len);
            if found == replicas { Ok(()) } else { Err(format!("{found} pods")) }
        })
        .await?;
        Ok(())
    }

    /// What a failed scenario leaves for a reader.
    async fn tell(&self) {
        for args in [
            vec!["get", "tfc,evs,pods,pvc", "-o", "wide"],
            vec!["describe", "tfc,evs"],
            vec!["logs", "-n", OPERATOR, "deploy/taffrail-operator", "--tail=40"],
            vec!["logs", "-l", "taffrail.io/cluster=main", "--tail=15", "--prefix"],
        ] {
            match self.kubectl.run(args).await {
                Ok(text) => println!("{text}"),
                Err(e) => println!("{e}"),
            }
        }
    }
}

/// Ends with its value; see [`Scene::follow`].
#[derive(Debug)]
pub struct Following(tokio::task::JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn endpoints(kubectl: &Kubectl, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<BTreeMap<String, String>> {
    let pods = kubectl.json(["get", "pods", "-l", "taffrail.io/cluster=main"]).await?;
    let mut endpoints = BTreeMap::new();
    for pod in pods["items"].as_array().context("no list")?.iter().filter(|pod| wanted(pod)) {
        let (name, ip) = (pod["metadata"]["name"].as_str(), pod["status"]["podIP"].as_str());
        if let (Some(name), Some(ip)) = (name, ip) {
            endpoints.insert(name.to_owned(), format!("http://{ip}:2113"));
        }
    }
    Ok(endpoints)
}

/// The node process of a pod, by what its environment says.
///
/// # Errors
/// When there is none.
pub fn process_of(pod: &str) -> anyhow::Result<i32> {
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

/// The pod that leads a store.
///
/// # Errors
/// When no pod knows a leader.
pub async fn leader(scene: &Scene, store: &str) -> anyhow::Result<String> {
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

/// As many replicas as the store is to have, each with the same digest at the same index; and then every field of every
/// event, read from each replica by itself, is the same.
///
/// # Errors
/// When they do not agree within a minute, or an event differs.
pub async fn replicas_agree(scene: &Scene, store: &str) -> anyhow::Result<()> {
    let declared = scene.get(&format!("evs/{store}")).await?;
    let replicas = usize::try_from(declared["spec"]["replicas"].as_u64().context("no replicas in the spec")?)?;
    let endpoints = scene.endpoints().await?;
    let holders = wait::until("all replicas to agree", MINUTE, || async {
        let mut digests = BTreeMap::new();
        for (pod, endpoint) in &endpoints {
            let client = taffrail_client::Client::connect(endpoint).await.map_err(|e| e.to_string())?;
            let found = client.store(store).await.map_err(|e| e.to_string())?;
            if !found.digest.is_empty() {
                digests.insert(pod.clone(), (found.applied_index, found.digest, found.events));
            }
        }
        let first = digests.values().next().cloned();
        if digests.len() == replicas && digests.values().all(|d| Some(d) == first.as_ref()) {
            Ok(digests)
        } else {
            Err(format!("{digests:?}, {replicas} wanted"))
        }
    })
    .await?;
    let mut first = None::<(&str, Vec<v1::RecordedEvent>)>;
    for (pod, (_, _, count)) in &holders {
        let client = taffrail_client::Client::connect(&endpoints[pod]).await?.with_store(store)?;
        // Stale: what this replica has, without asking the leader.
        let events = client.read(workload::everything(v1::Consistency::Stale)).await?.rest().await?;
        ensure!(u64::try_from(events.len())? == *count, "{pod} has {count} events and answers {}", events.len());
        match &first {
            None => first = Some((pod, events)),
            Some((other, theirs)) => {
                let differs = events.iter().zip(theirs).find(|(one, two)| one != two);
                ensure!(events.len() == theirs.len() && differs.is_none(), "{pod} and {other} differ: {differs:?}");
            }
        }
    }
    let events = first.map_or(0, |(_, events)| events.len());
    println!("{store}: {replicas} replicas have the same {events} events");
    Ok(())
}

/// Appends an event through one pod and reads it back through the same.
///
/// # Errors
/// When either fails, or something else is read.
pub async fn append_and_read(endpoint: &str, store: &str) -> anyhow::Result<()> {
    let client = taffrail_client::Client::connect(endpoint).await?.with_store(store)?;
    let id = taffrail_client::new_id();
    let stream = format!("through-{id}");
    let appended = client.append(&stream, taffrail_client::Expected::NoStream, vec![workload::event(id)]).await?;
    let read = client.read_stream(&stream, 0).await?;
    let [event] = read.as_slice() else { anyhow::bail!("one event was appended, {} are read", read.len()) };
    let id = id.to_string();
    ensure!(
        event.id == id && event.data == id.as_bytes() && event.position == appended.first_position,
        "{id} was appended at {}, read is {event:?}",
        appended.first_position
    );
    Ok(())
}

/// Waits until a node answers `/readyz` with 200.
///
/// # Errors
/// When it does not within two minutes.
pub async fn ready(endpoint: &str) -> anyhow::Result<()> {
    let page = endpoint.replace(":2113", ":9090/readyz");
    wait::until(&format!("200 of {page}"), MINUTE * 2, || async {
        let args = ["--silent", "--show-error", "--fail", "--max-time", "5", &page];
        Run::new("curl").args(args).output().await.map_err(|e| e.to_string())
    })
    .await?;
    Ok(())
}

/// The node id of each pod, as its node itself says.
///
/// # Errors
/// When one does not answer.
pub async fn node_ids(scene: &Scene) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut ids = BTreeMap::new();
    for (pod, endpoint) in scene.endpoints().await? {
        let status = taffrail_client::Client::connect(&endpoint).await?.cluster_status().await?;
        ids.insert(pod, status.answered_by);
    }
    Ok(ids)
}

/// Waits until a hundred more batches were acknowledged.
///
/// # Errors
/// When they are not within a minute.
pub async fn load_runs(load: &Workload) -> anyhow::Result<()> {
    let wanted = load.progress().acknowledged() + 100;
    wait::until("appends to go on", MINUTE, || async {
        let now = load.progress().acknowledged();
        if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted}")) }
    })
    .await?;
    Ok(())
}

/// The machine that a pod runs on.
///
/// # Errors
/// When it runs on none of ours.
pub async fn node_of(scene: &Scene, pod: &str) -> anyhow::Result<NodeId> {
    let name = scene.kubectl.run(["get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"]).await?;
    let number: u8 = name.trim().trim_start_matches("node").parse()?;
    NodeId::try_from(number).map_err(|e| anyhow::anyhow!("{e:?}"))
}
