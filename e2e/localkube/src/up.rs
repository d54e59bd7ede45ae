//! Startup of a cluster from the host: checks prerequisites, chooses addresses, writes files, starts the first process,
//! connects its network and waits for readiness.

use crate::{
    command,
    config::Config,
    control_plane, down,
    error::{Error, Io},
    host_link, images,
    instance::Instance,
    layout::Layout,
    local_kube::LocalKube,
    lock, node_files, objects, pki, prerequisites,
    process_id::ProcessId,
    supervisor::directories_to_make,
    wait,
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    process::{Child, Command},
};

/// A callback that gets the name of each step before the step begins.
pub type Progress<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// The result of a successful [`LocalKube::up`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster was started.
    Started,
    /// The cluster was running and healthy.
    AlreadyRunning,
}

impl LocalKube {
    /// Starts a cluster unless the cluster is running and healthy. `progress` gets the name of each step before
    /// the step begins.
    ///
    /// # Errors
    /// When a prerequisite is missing, an address is taken, or a component does not start; the error names the object.
    pub async fn up(config: &Config, progress: &Progress<'_>) -> Result<(Self, Outcome), Error> {
        run(config, progress).await
    }
}

async fn run(config: &Config, progress: &Progress<'_>) -> Result<(LocalKube, Outcome), Error> {
    prerequisites::check(config)?;
    let root = &config.state_root;
    fs::create_dir_all(root).map_err(|source| Io::new("create", root, source))?;
    // Held until the end: a concurrent start of another cluster must see these addresses in use, and a concurrent start
    // of this cluster must find the cluster complete.
    let _held = lock::acquire(root, progress).await?;
    let state = root.join(config.name.as_str());
    if let Some(running) = running(config, &state).await? {
        return Ok((running, Outcome::AlreadyRunning));
    }
    if state.exists() {
        progress("removing the remains of an earlier start");
        down::end(&state, &config.name).await?;
    }
    let interface = config.name.interface();
    if host_link::interface_exists(&interface) {
        return Err(Error::InterfaceTaken(interface));
    }
    progress("writing certificates, configuration and base images");
    let instance = prepare(config, state).await?;
    progress("starting etcd, the API server and the nodes (usually 10 to 20 s)");
    let cluster = start(instance).await?;
    progress("waiting for the nodes and the cluster's DNS");
    finish(&cluster).await?;
    Ok((cluster, Outcome::Started))
}

/// Returns the cluster if `up` completed and the processes are alive. An unhealthy cluster is an error.
async fn running(config: &Config, state: &Path) -> Result<Option<LocalKube>, Error> {
    let layout = Layout::new(state);
    let alive = ProcessId::load(&layout.init()).is_some_and(ProcessId::is_alive);
    if !alive || !layout.complete().exists() {
        return Ok(None);
    }
    let Some(instance) = Instance::load(state)? else {
        return Ok(None);
    };
    let cluster = LocalKube::of(instance);
    let mut problems = cluster.status().await?.problems();
    if problems.is_empty() {
        let nodes: Vec<_> = cluster.instance().node_ids().collect();
        let ready = cluster.nodes_ready(&nodes, Duration::from_secs(30)).await;
        problems.extend(ready.err().map(|error| error.to_string()));
    }
    if problems.is_empty() {
        return Ok(Some(cluster));
    }
    Err(Error::Unhealthy { name: config.name.clone(), problems: problems.join("; "), logs: layout.logs() })
}

/// Resolves all choices and writes all files.
async fn prepare(config: &Config, state: PathBuf) -> Result<Instance, Error> {
    let network = host_link::choose_network(config.addresses).await?;
    let made_directories: Vec<PathBuf> = directories_to_make().map(Path::to_owned).collect();
    let instance = Instance {
        name: config.name.clone(),
        state,
        nodes: config.nodes,
        volumes_per_node: config.volumes_per_node,
        network,
        programs: config.programs.clone(),
        made_directories,
    };
    let layout = instance.layout();
    make(layout.state())?;
    // The directory contains private keys.
    let private = fs::Permissions::from_mode(0o711);
    fs::set_permissions(layout.state(), private)
        .map_err(|source| Io::new("set the mode of", layout.state(), source))?;
    // Written first, because `down` recognises the directory of a cluster by this file.
    instance.save()?;
    for directory in [layout.logs(), layout.pki(), layout.etcd(), layout.images(), layout.plugins()] {
        make(&directory)?;
    }
    for directory in &instance.made_directories {
        make(directory)?;
    }
    // etcd requires this mode.
    fs::set_permissions(layout.etcd(), fs::Permissions::from_mode(0o700))
        .map_err(|source| Io::new("set the mode of", &layout.etcd(), source))?;
    pki::write(&instance)?;
    control_plane::write_files(&instance)?;
    objects::write(&instance)?;
    for node in instance.node_ids() {
        node_files::write(&instance, node)?;
    }
    images::write(&instance).await?;
    Ok(instance)
}

fn make(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Io::new("create", path, source).into())
}

/// Starts the first process, connects its network and waits until the supervisor listens.
async fn start(instance: Instance) -> Result<LocalKube, Error> {
    let layout = instance.layout();
    let mut outer = spawn(&instance)?;
    let outer_pid = outer.id().unwrap_or_default();
    let started = wait::until("the namespaces", Duration::from_secs(20), || {
        let ended = matches!(outer.try_wait(), Ok(Some(_)));
        let init = ProcessId::child_of(outer_pid);
        async move {
            match init {
                Some(init) => Ok(Some(init)),
                None if ended => Ok(None),
                None => Err("no process in the namespaces yet"),
            }
        }
    });
    let Some(init) = started.await? else {
        return Err(ended(&layout));
    };
    init.save(&layout.init())?;
    host_link::connect(&instance, init.pid()).await?;
    let socket = layout.control_socket();
    let listening = wait::until("the supervisor to listen", Duration::from_secs(180), || async {
        match UnixStream::connect(&socket).await {
            Ok(_) => Ok(true),
            Err(_) if !init.is_alive() => Ok(false),
            Err(error) => Err(format!("{error}; {}", last_line(&layout.log("supervisor")))),
        }
    })
    .await;
    let log = layout.log("supervisor");
    match listening.map_err(|source| Error::Slow { component: "the control plane", log, source })? {
        true => Ok(LocalKube::of(instance)),
        false => Err(ended(&layout)),
    }
}

fn spawn(instance: &Instance) -> Result<Child, Error> {
    let layout = instance.layout();
    let log = layout.log("supervisor");
    let open = OpenOptions::new().create(true).append(true).open(&log);
    let out = open.and_then(|out| Ok((out.try_clone()?, out))).map_err(|source| Io::new("write", &log, source))?;
    let mut command = Command::new("setsid");
    command
        .args([
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "slave",
        ])
        .arg(&instance.programs.localkube)
        .arg("inside-init")
        .arg(layout.state())
        .env("PATH", command::search_path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out.0)
        .stderr(out.1);
    let failed = |source| command::Error::Start { line: "setsid unshare".to_owned(), source };
    Ok(command.spawn().map_err(failed)?)
}

fn ended(layout: &Layout) -> Error {
    let log = layout.log("supervisor");
    Error::Ended { last_line: last_line(&log), log }
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("the log is empty").to_owned()
}

/// Creates the initial objects and waits until pods can be scheduled and names can be resolved.
async fn finish(cluster: &LocalKube) -> Result<(), Error> {
    let instance = cluster.instance();
    let layout = instance.layout();
    let slow = |component: &'static str, log: &str| {
        let log = layout.log(log);
        move |source| Error::Slow { component, log, source }
    };
    let kubectl = &cluster.kubectl();
    let objects = &layout.objects();
    let objects = &fs::read(objects).map_err(|source| Io::new("read", objects, source))?;
    // The namespace kube-system appears shortly after the API server is ready.
    let apply = || kubectl.apply(objects.clone());
    let applied = wait::until("the first objects to be accepted", Duration::from_secs(60), apply).await;
    applied.map_err(slow("kube-apiserver", "kube-apiserver"))?;
    let account = ["--namespace", "default", "serviceaccount", "default"];
    let found = kubectl.until("the default service account", Duration::from_secs(60), &account, |_| Ok(())).await;
    found.map_err(slow("kube-controller-manager", "kube-controller-manager"))?;
    let nodes: Vec<_> = instance.node_ids().collect();
    cluster.nodes_ready(&nodes, Duration::from_secs(90)).await.map_err(slow("kubelet", "node1-kubelet"))?;
    let dns = wait::until("the DNS to be ready", Duration::from_secs(60), || dns_ready(instance)).await;
    dns.map_err(slow("coredns", "coredns"))?;
    let complete = layout.complete();
    fs::write(&complete, "").map_err(|source| Io::new("write", &complete, source).into())
}

async fn dns_ready(instance: &Instance) -> Result<(), String> {
    let address = (instance.network.api(), Instance::DNS_READY_PORT);
    let mut answer = String::new();
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await?;
        stream.read_to_string(&mut answer).await
    };
    asked.await.map_err(|error| error.to_string())?;
    let status = answer.lines().next().unwrap_or_default();
    if status.contains(" 200 ") { Ok(()) } else { Err(status.to_owned()) }
}
