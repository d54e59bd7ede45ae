//! Tests of the local Kubernetes: its features work, faults take effect and heal, and `down` leaves no trace.
//!
//! Needs root and everything provided by `scripts/deps.sh` and `scripts/k8s-tools.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics at the first failed check and uses the real clock"
)]

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use taffrail_localkube::{
    BUSYBOX, Config, Error, LIMITED_STORAGE_CLASS, LocalKube, NodeId, Outcome, audit, kubectl::Kubectl, wait,
};
use tokio::sync::{Mutex, MutexGuard};

const MINUTE: Duration = Duration::from_secs(60);

/// Serializes the tests: each compares the machine before and after, or uses much of its capacity.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// A cluster for a single test, removed even after a panic.
struct Scene {
    config: Config,
    _machine: MutexGuard<'static, ()>,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let instance = MACHINE.lock().await;
        let config = Config::new(name.parse().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_localkube")));
        let scene = Self { config, _machine: instance };
        // A killed earlier run may have left the cluster running.
        scene.down().await;
        scene
    }

    async fn up(&self) -> (LocalKube, Outcome) {
        LocalKube::up(&self.config, &|step| println!("{}: {step}", self.config.name)).await.unwrap()
    }

    async fn down(&self) -> bool {
        LocalKube::down(&self.config.state_root, &self.config.name).await.unwrap()
    }

    async fn run(self, test: impl AsyncFnOnce(&Self)) {
        let outcome = AssertUnwindSafe(test(&self)).catch_unwind().await;
        self.down().await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }
}

fn node(number: u8) -> NodeId {
    NodeId::try_from(number).unwrap()
}

/// Three pods under the restricted Pod Security Standard, one on each node. Each pod serves a file from its volume over
/// HTTP and is also reachable by an ExternalName Service in another namespace.
fn web() -> String {
    format!(
        r#"
apiVersion: v1
kind: Namespace
metadata: {{name: strict, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: strict}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: main-clients, namespace: strict}}
spec: {{selector: {{app: web}}, ports: [{{port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: orders, namespace: default}}
spec: {{type: ExternalName, externalName: main-clients.strict.svc.cluster.local}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web, namespace: strict}}
spec:
  serviceName: web
  replicas: 3
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: DoNotSchedule
        labelSelector: {{matchLabels: {{app: web}}}}
      securityContext: {{runAsNonRoot: true, runAsUser: 1000, fsGroup: 2000, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: web
        image: {BUSYBOX}
        command: [sh, -c, 'echo "$HOSTNAME" >>/data/name; nc -ll -p 9000 -e cat & exec httpd -f -p 8080 -h /data']
        readinessProbe: {{httpGet: {{path: /name, port: 8080}}, periodSeconds: 1}}
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
        volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"#
    )
}

/// Name and address of each pod of [`web`], in the order of the nodes.
struct Web {
    pods: Vec<(String, String)>,
}

impl Web {
    async fn start(kubectl: &Kubectl) -> Self {
        kubectl.apply(web()).await.unwrap();
        Self::ready(kubectl).await
    }

    async fn ready(kubectl: &Kubectl) -> Self {
        let set = ["--namespace", "strict", "statefulset", "web"];
        let all_ready = |set: &Value| match set["status"]["readyReplicas"].as_u64() {
            Some(3) => Ok(()),
            other => Err(format!("{other:?} of 3 pods are ready")),
        };
        kubectl.until("three ready pods", MINUTE, &set, all_ready).await.unwrap();
        let list = kubectl.json(["--namespace", "strict", "get", "pods"]).await.unwrap();
        let mut found: Vec<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| {
                let word = |value: &Value| value.as_str().unwrap().to_owned();
                (word(&pod["spec"]["nodeName"]), word(&pod["metadata"]["name"]), word(&pod["status"]["podIP"]))
            })
            .collect();
        found.sort();
        let nodes: BTreeSet<_> = found.iter().map(|pod| pod.0.clone()).collect();
        assert_eq!(nodes.len(), 3, "one pod on each node: {found:?}");
        Self { pods: found.into_iter().map(|(_, name, address)| (name, address)).collect() }
    }

    /// Returns the name of the pod on a node.
    fn pod(&self, node: NodeId) -> &str {
        &self.pods[usize::from(node.number()) - 1].0
    }

    fn address(&self, node: NodeId) -> &str {
        &self.pods[usize::from(node.number()) - 1].1
    }

    async fn shell(&self, kubectl: &Kubectl, node: NodeId, script: &str) -> Result<String, String> {
        kubectl.exec("strict", self.pod(node), &["sh", "-c", script]).await.map_err(|error| error.to_string())
    }

    /// Sends a request from the pod on one node to the pod on another, with a time limit of two seconds.
    async fn reaches(&self, kubectl: &Kubectl, from: NodeId, to: NodeId) -> Result<String, String> {
        self.shell(kubectl, from, &format!("timeout 2 wget -q -O - http://{}:8080/name", self.address(to))).await
    }
}

#[tokio::test]
async fn pods_get_names_volumes_and_images() {
    Scene::new("t-basics")
        .await
        .run(async |scene| {
            let (cluster, outcome) = scene.up().await;
            assert_eq!(outcome, Outcome::Started);
            assert_eq!(scene.up().await.1, Outcome::AlreadyRunning);
            let kubectl = &cluster.kubectl();
            let before = Timestamp::now();
            let web = Web::start(kubectl).await;
            names_resolve_and_services_route(kubectl, &web).await;
            let owner = web.shell(kubectl, node(1), "stat -c '%g %a' /data").await.unwrap();
            assert_eq!(owner.trim(), "2000 2775", "fsGroup owns the volume");
            let writes = cluster.writes_since(before).unwrap();
            assert!(audit::by_user(&writes)["kubernetes-admin"] >= 5, "{:?}", audit::by_user(&writes));
            assert!(
                cluster.writes_since(Timestamp::now()).unwrap().iter().all(|write| write.user != "kubernetes-admin")
            );
            released_volumes_come_back_empty(&cluster).await;
            a_limited_volume_is_full_at_its_size(&cluster).await;
            a_broken_archive_is_refused(&cluster).await;
        })
        .await;
}

async fn names_resolve_and_services_route(kubectl: &Kubectl, web: &Web) {
    for from in [1, 2, 3] {
        let found = wait::until("the alias to be resolved", MINUTE, || {
            web.shell(kubectl, node(from), "timeout 2 wget -q -O - http://orders.default.svc:8080/name")
        });
        assert!(found.await.unwrap().starts_with("web-"));
        // Service addresses reach every pod, including the pod on the node of the client.
        let script =
            "for i in 1 2 3 4 5 6 7 8; do timeout 2 wget -q -O - http://main-clients:8080/name || exit 1; done";
        web.shell(kubectl, node(from), script).await.unwrap();
    }
    let service = kubectl.json(["--namespace", "strict", "get", "service", "main-clients"]).await.unwrap();
    let address = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let connected = tokio::time::timeout(MINUTE, tokio::net::TcpStream::connect((address, 8080))).await;
    connected.expect("the host reaches Services").unwrap();
}

async fn released_volumes_come_back_empty(cluster: &LocalKube) {
    let kubectl = cluster.kubectl();
    let claim = ["--namespace", "strict", "get", "persistentvolumeclaim", "data-web-0"];
    let volume = kubectl.json(claim).await.unwrap()["spec"]["volumeName"].as_str().unwrap().to_owned();
    let path = kubectl.json(["get", "persistentvolume", &volume]).await.unwrap()["spec"]["local"]["path"].clone();
    let path = Path::new(path.as_str().unwrap()).to_owned();
    assert!(path.join("name").exists(), "the pod wrote to {}", path.display());
    kubectl.delete(["--namespace", "strict", "statefulset", "web"]).await.unwrap();
    kubectl.delete(["--namespace", "strict", "persistentvolumeclaim", "--all"]).await.unwrap();
    let object = ["persistentvolume", volume.as_str()];
    let phase = |wanted: &'static str| {
        move |volume: &Value| match volume["status"]["phase"].as_str() {
            Some(phase) if phase == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    kubectl.until("the volume to be released", MINUTE, &object, phase("Released")).await.unwrap();
    assert!(path.join("name").exists(), "a released volume keeps its data");
    assert!(cluster.recycle_released_volumes().await.unwrap().contains(&volume));
    kubectl.until("the volume to be available", MINUTE, &object, phase("Available")).await.unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "a recycled volume is empty");
    // A new StatefulSet of the same name starts with an empty volume.
    let web = Web::start(&kubectl).await;
    let lines = web.shell(&kubectl, node(1), "wc -l </data/name").await.unwrap();
    assert_eq!(lines.trim(), "1");
}

async fn a_limited_volume_is_full_at_its_size(cluster: &LocalKube) {
    let kubectl = cluster.kubectl();
    let volume = cluster.add_limited_volume(node(2), 16).await.unwrap();
    assert_eq!(volume, "local-node2-limited-00");
    let objects = format!(
        r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: small}}
spec: {{storageClassName: {LIMITED_STORAGE_CLASS}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 16Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: small}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: fill
    image: {BUSYBOX}
    command: [sh, -c, 'dd if=/dev/zero of=/data/fill bs=1M count=64 2>&1 | grep -q "No space left on device"']
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: small}}}}]
"#
    );
    kubectl.apply(objects).await.unwrap();
    let full = |pod: &Value| match pod["status"]["phase"].as_str() {
        Some("Succeeded") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    kubectl.until("the volume to be full", MINUTE, &["pod", "small"], full).await.unwrap();
}

async fn a_broken_archive_is_refused(cluster: &LocalKube) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("broken.tar");
    fs::write(&archive, "not a tar").unwrap();
    let error = cluster.load_image(&archive).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    cluster.stop_node(node(3)).await.unwrap();
    cluster.start_node(node(3)).await.unwrap();
    assert_eq!(cluster.status().await.unwrap().problems(), Vec::<String>::new());
}

#[tokio::test]
async fn faults_break_what_they_say_and_heal() {
    Scene::new("t-faults")
        .await
        .run(async |scene| {
            let (cluster, _) = scene.up().await;
            let kubectl = &cluster.kubectl();
            let web = Web::start(kubectl).await;
            a_partition_cuts_new_and_established_connections(&cluster, &web).await;
            a_one_way_partition_names_its_direction(&cluster).await;
            a_node_cut_from_the_api_is_lost_to_it_and_no_other(&cluster, &web).await;
            a_paused_api_server_refuses_and_pods_go_on(&cluster, &web).await;
            a_stopped_node_is_dark_and_comes_back_with_its_disk(&cluster, &web).await;
        })
        .await;
}

async fn a_partition_cuts_new_and_established_connections(cluster: &LocalKube, web: &Web) {
    let kubectl = &cluster.kubectl();
    let (one, other) = (node(1), node(2));
    // A connection to an echo server on the other node, held open as long as the pod runs.
    let echo = format!("mkfifo /data/in && (nc {} 9000 <>/data/in >/data/out 2>/dev/null &)", web.address(other));
    web.shell(kubectl, one, &echo).await.unwrap();
    let say = async |word: &str| web.shell(kubectl, one, &format!("echo {word} >/data/in")).await.unwrap();
    let comes_back = async |word: &str| {
        let look = format!("grep {word} /data/out");
        wait::until("the line to come back", MINUTE, || web.shell(kubectl, one, &look)).await.unwrap()
    };
    say("before").await;
    comes_back("before").await;

    cluster.partition(one, other).await.unwrap();
    web.reaches(kubectl, one, other).await.unwrap_err();
    web.reaches(kubectl, other, one).await.unwrap_err();
    web.reaches(kubectl, one, node(3)).await.unwrap();
    web.reaches(kubectl, one, one).await.unwrap();
    say("during").await;
    let dropped = wait::until("packets to be dropped both ways", MINUTE, || async {
        let cuts = cluster.status().await.map_err(|error| error.to_string())?.cuts;
        if cuts.iter().all(|cut| cut.packets_dropped > 0) { Ok(cuts) } else { Err(format!("{cuts:?}")) }
    });
    assert_eq!(dropped.await.unwrap().len(), 2);
    web.shell(kubectl, one, "grep during /data/out").await.unwrap_err();

    cluster.heal().await.unwrap();
    comes_back("during").await;
    web.reaches(kubectl, one, other).await.unwrap();
}

async fn a_one_way_partition_names_its_direction(cluster: &LocalKube) {
    cluster.partition_one_way(node(1), node(2)).await.unwrap();
    cluster.isolate(node(3)).await.unwrap();
    assert_eq!(cluster.status().await.unwrap().cuts.len(), 5);
    cluster.heal_between(node(2), node(1)).await.unwrap();
    assert_eq!(cluster.status().await.unwrap().cuts.len(), 4);
    cluster.heal().await.unwrap();
    assert!(cluster.partition(node(1), node(8)).await.unwrap_err().to_string().contains("node8"));
    assert!(cluster.status().await.unwrap().cuts.is_empty(), "a refused cut changes nothing");
}

async fn a_node_cut_from_the_api_is_lost_to_it_and_no_other(cluster: &LocalKube, web: &Web) {
    use taffrail_localkube::Cut;

    let kubectl = &cluster.kubectl();
    let ask = "timeout 2 nc -w 2 kubernetes.default.svc 443 </dev/null";
    web.shell(kubectl, node(2), ask).await.unwrap();
    cluster.cut([Cut::Api { node: node(1) }]).await.unwrap();
    // The API server cannot reach this kubelet either, so the check runs in a pod on another node.
    web.reaches(kubectl, node(2), node(1)).await.unwrap();
    let exec = ["--request-timeout=3s", "--namespace", "strict", "exec", web.pod(node(1)), "--", "true"];
    kubectl.command().args(exec).timeout(Duration::from_secs(5)).output().await.unwrap_err();
    web.shell(kubectl, node(2), ask).await.unwrap();
    cluster.heal().await.unwrap();
    wait::until("the kubelet to be reachable", MINUTE, || web.shell(kubectl, node(1), "true")).await.unwrap();
}

async fn a_paused_api_server_refuses_and_pods_go_on(cluster: &LocalKube, web: &Web) {
    let kubectl = &cluster.kubectl();
    cluster.pause_api().await.unwrap();
    let api = (cluster.instance().network.api(), 6443);
    let refused = tokio::net::TcpStream::connect(api).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(cluster.status().await.unwrap().problems(), ["the API server is paused"]);
    tokio::net::TcpStream::connect((web.address(node(1)), 8080)).await.expect("pods stay reachable");
    assert!(matches!(LocalKube::up(&test_config(cluster), &|_| {}).await, Err(Error::Unhealthy { .. })));
    cluster.resume_api().await.unwrap();
    kubectl.run(["get", "nodes"]).await.unwrap();
    cluster.nodes_ready(&[node(1), node(2), node(3)], MINUTE).await.unwrap();
}

fn test_config(cluster: &LocalKube) -> Config {
    Config::new(cluster.instance().name.clone(), PathBuf::from(env!("CARGO_BIN_EXE_localkube")))
}

async fn a_stopped_node_is_dark_and_comes_back_with_its_disk(cluster: &LocalKube, web: &Web) {
    let kubectl = &cluster.kubectl();
    let stopped = node(2);
    cluster.stop_node(stopped).await.unwrap();
    web.reaches(kubectl, node(1), stopped).await.unwrap_err();
    assert_eq!(cluster.status().await.unwrap().problems(), ["node2 is stopped"]);
    let directory = cluster.instance().state.join("node2");
    let inside = format!("/proc/{}/mountinfo", cluster.init_pid().unwrap());
    let mounts = fs::read_to_string(inside).unwrap();
    assert!(!mounts.contains(directory.to_str().unwrap()), "a file system of the stopped node is still mounted");
    // Name resolution does not depend on a node.
    web.shell(kubectl, node(1), "nslookup main-clients.strict.svc.cluster.local").await.unwrap();
    cluster.start_node(stopped).await.unwrap();
    cluster.nodes_ready(&[node(1), node(2), node(3)], Duration::from_secs(120)).await.unwrap();
    let pod = ["--namespace", "strict", "pod", web.pod(stopped)];
    let restarted = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let again = status["ready"] == true && status["restartCount"].as_u64() > Some(0);
        if again { Ok(()) } else { Err(format!("{status}")) }
    };
    kubectl.until("the pod to run again", Duration::from_secs(120), &pod, restarted).await.unwrap();
    let again = Web::ready(kubectl).await;
    let lines = again.shell(kubectl, stopped, "wc -l </data/name").await.unwrap();
    assert_eq!(lines.trim(), "2", "the volume keeps the line of the first start");
}

/// Possible remains of a cluster. Remains of other clusters are ignored, because other clusters may start and end
/// at any time.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    interfaces: Vec<String>,
    routes: Vec<String>,
    mounts: Vec<String>,
    cgroups: BTreeSet<PathBuf>,
    directories: Vec<PathBuf>,
    processes: Vec<String>,
}

impl Traces {
    fn now(clusters: &[&Config]) -> Self {
        let states: Vec<PathBuf> = clusters.iter().map(|config| config.state_root.join(config.name.as_str())).collect();
        let of_others =
            |line: &str| line.contains("tf-") && !clusters.iter().any(|config| line.contains(&config.name.interface()));
        let ip = |args: &[&str]| -> Vec<String> {
            let output =
                Command::new("/usr/bin/env").args(["PATH=/usr/sbin:/sbin:/usr/bin:/bin", "ip"]).args(args).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.lines().filter(|line| !of_others(line)).map(str::to_owned).collect()
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let watched = ["/var/lib/cni", "/var/log", "/run", "/proc/sys"].map(PathBuf::from);
        let on_watched = |line: &&str| {
            let target = Path::new(line.split(' ').nth(4).unwrap());
            watched.contains(&target.to_owned()) || states.iter().any(|state| target.starts_with(state))
        };
        Self {
            interfaces: ip(&["-br", "link"]),
            routes: ip(&["-4", "route"]),
            mounts: mounts.lines().filter(on_watched).map(str::to_owned).collect(),
            cgroups: top_cgroups(clusters),
            directories: states.iter().filter(|state| state.exists()).cloned().collect(),
            processes: processes_naming(&states),
        }
    }
}

/// The cgroups directly below the root of each hierarchy.
fn top_cgroups(clusters: &[&Config]) -> BTreeSet<PathBuf> {
    let below = |path: &Path| fs::read_dir(path).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let root = Path::new("/sys/fs/cgroup");
    let found = below(root).filter(|path| path.is_dir()).flat_map(|hierarchy| below(&hierarchy).collect::<Vec<_>>());
    let found = found.chain(below(root)).filter(|path| path.is_dir());
    let of_others = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("taffrail-") && !clusters.iter().any(|config| config.name.cgroup() == name)
    };
    found.filter(|path| !of_others(path)).collect()
}

fn processes_naming(states: &[PathBuf]) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| states.iter().any(|state| line.contains(state.to_str().unwrap()))).collect()
}

#[tokio::test]
async fn clusters_live_side_by_side_and_leave_nothing() {
    let first = Scene::new("t-one").await;
    first
        .run(async |first| {
            let second = Config { nodes: node(1), ..test_config_named("t-two") };
            LocalKube::down(&second.state_root, &second.name).await.unwrap();
            let both = [&first.config, &second];
            let before = Traces::now(&both);
            let (one, _) = first.up().await;
            let (two, _) = LocalKube::up(&second, &|_| {}).await.unwrap();
            assert_ne!(one.instance().network, two.instance().network);
            assert_ne!(Traces::now(&both), before);

            // A cluster whose first process died is not considered running, and can be started again.
            let init = two.init_pid().unwrap();
            assert!(Command::new("kill").args(["-KILL", &init.to_string()]).status().unwrap().success());
            wait::until("the dead cluster to be detected", MINUTE, || async {
                match LocalKube::open(&second.state_root, &second.name) {
                    Err(Error::NotRunning(_)) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await
            .unwrap();
            let (two, outcome) = LocalKube::up(&second, &|_| {}).await.unwrap();
            assert_eq!(outcome, Outcome::Started);
            two.nodes_ready(&[node(1)], MINUTE).await.unwrap();
            Web::start(&one.kubectl()).await;

            assert!(LocalKube::down(&second.state_root, &second.name).await.unwrap());
            one.nodes_ready(&[node(1), node(2), node(3)], MINUTE).await.unwrap();
            assert!(first.down().await);
            assert!(!first.down().await, "down is idempotent");
            wait::until("the traces to be as before", MINUTE, || async {
                let now = Traces::now(&both);
                if now == before { Ok(()) } else { Err(format!("{now:?} instead of {before:?}")) }
            })
            .await
            .unwrap();
        })
        .await;
}

fn test_config_named(name: &str) -> Config {
    Config::new(name.parse().unwrap(), PathBuf::from(env!("CARGO_BIN_EXE_localkube")))
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_left_alone() {
    let _machine = MACHINE.lock().await;
    let root = tempfile::tempdir_in("/var/lib").unwrap();
    let config = Config { state_root: root.path().to_owned(), ..test_config_named("t-foreign") };
    let precious = root.path().join("t-foreign/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, "x").unwrap();
    assert!(matches!(LocalKube::up(&config, &|_| {}).await, Err(Error::ForeignDirectory(_))));
    assert!(matches!(LocalKube::down(&config.state_root, &config.name).await, Err(Error::ForeignDirectory(_))));
    assert!(precious.exists());
}
