//! [`Slot`]: one node with a fixed directory and fixed ports, whose process is restarted whenever it ends.

use crate::common::{PATIENCE, PORT_TAKEN, Ports};
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::oneshot,
    task::JoinHandle,
};

/// Pause before a restart, like the back-off of the kubelet.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Exit code of a node whose data was retired.
pub(crate) const RETIRED: i32 = 75;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

type Ends = Arc<Mutex<Vec<ExitStatus>>>;

struct Supervisor {
    /// True sends SIGTERM, false SIGKILL.
    stop: oneshot::Sender<bool>,
    /// Returns the end of the stopped process; `None` if the process had ended before.
    task: JoinHandle<Option<ExitStatus>>,
}

/// A node of the cluster.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) ports: Ports,
    dir: PathBuf,
    points: PathBuf,
    supervisor: Option<Supervisor>,
    ends: Ends,
    kills: usize,
}

impl Slot {
    /// Creates directory and configuration; starts nothing.
    pub(crate) fn new(root: &Path, name: &str, ports: Ports, peers: &[Ports], points: &Path) -> Self {
        let dir = root.join(name);
        fs::create_dir(&dir).unwrap();
        let peers: Vec<String> = peers.iter().map(|p| format!("\"127.0.0.1:{}\"", p.peers)).collect();
        let config = format!(
            "[node]\ndata_dir = \"{data}\"\ncluster = \"main\"\nname = \"{name}\"\n\
             [listen]\nclients = \"127.0.0.1:{clients}\"\npeers = \"127.0.0.1:{own}\"\n\
             admin = \"127.0.0.1:{admin}\"\nhttp = \"127.0.0.1:{http}\"\n\
             [peer]\nadvertise = \"127.0.0.1:{own}\"\n\
             [discovery]\nkind = \"static\"\npeers = [{peers}]\n\
             [shutdown]\ndrain_delay_ms = 0\ngrace_ms = 20000\n\
             [log]\nfilter = \"taffrail_node::coordinator=debug\"\n",
            data = dir.join("data").display(),
            clients = ports.clients,
            own = ports.peers,
            admin = ports.admin,
            http = ports.http,
            peers = peers.join(", "),
        );
        fs::write(dir.join("node.toml"), config).unwrap();
        let points = points.to_owned();
        Self { name: name.to_owned(), ports, dir, points, supervisor: None, ends: Ends::default(), kills: 0 }
    }

    pub(crate) fn runs(&self) -> bool {
        self.supervisor.is_some()
    }
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    /// Output of all processes of this node.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The metrics page of the node.
    pub(crate) async fn metrics(&self) -> String {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.ports.http)).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Starts the process and its supervisor.
    pub(crate) fn start(&mut self) {
        assert!(self.supervisor.is_none(), "{} runs already", self.name);
        let (stop, stopped) = oneshot::channel();
        let (dir, points, ends) = (self.dir.clone(), self.points.clone(), Arc::clone(&self.ends));
        let task = tokio::spawn(supervise(dir, points, stopped, ends));
        self.supervisor = Some(Supervisor { stop, task });
    }

    /// Ends process and supervisor: with SIGTERM when `in_order`, else with SIGKILL.
    pub(crate) async fn stop(&mut self, in_order: bool) {
        let Some(Supervisor { stop, task }) = self.supervisor.take() else { return };
        // A supervisor that is gone has failed; awaiting the task reports that.
        let _gone = stop.send(in_order);
        let end = task.await.unwrap();
        self.kills += usize::from(end.is_some_and(|end| end.signal() == Some(SIGKILL)));
    }

    /// Number of processes that died of SIGKILL.
    pub(crate) fn kills(&self) -> usize {
        self.kills
    }

    /// Deaths at fault points; fails on any other end that the tests do not expect.
    pub(crate) fn deaths(&self) -> usize {
        let ends = self.ends.lock().unwrap();
        for end in ends.iter() {
            let allowed = end.signal() == Some(SIGABRT) || matches!(end.code(), Some(PORT_TAKEN | RETIRED));
            assert!(allowed, "{} ended with {end}: {}", self.name, self.tail());
        }
        let deaths = ends.iter().filter(|end| end.signal() == Some(SIGABRT)).count();
        let said = self.said();
        let told = said.matches("fault point reached").count();
        assert!(told >= deaths, "{} died {deaths} times and logged {told} deaths: {}", self.name, self.tail());
        assert!(!said.contains("panicked"), "{}: {}", self.name, self.tail());
        deaths
    }

    fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn spawn(dir: &Path, points: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("TAFFRAIL_") || n.starts_with("POD_")) {
            command.env_remove(name);
        }
    }
    command.arg("serve").arg("--config").arg(dir.join("node.toml")).env("TAFFRAIL_FAILPOINT_FILE", points);
    // A core file, where the system writes one, goes into the directory of the run.
    command.current_dir(dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn supervise(dir: PathBuf, points: PathBuf, mut stop: oneshot::Receiver<bool>, ends: Ends) -> Option<ExitStatus> {
    loop {
        let mut child = spawn(&dir, &points);
        tokio::select! {
            ended = child.wait() => ends.lock().unwrap().push(ended.unwrap()),
            in_order = &mut stop => return Some(end(child, in_order.unwrap_or(false)).await),
        }
        tokio::select! {
            () = tokio::time::sleep(BACK_OFF) => {}
            _ = &mut stop => return None,
        }
    }
}

async fn end(mut child: Child, in_order: bool) -> ExitStatus {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    match pid {
        Some(pid) if in_order => rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap(),
        _ => child.start_kill().unwrap(),
    }
    let ended =
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("a node stops after SIGTERM or SIGKILL").unwrap();
    assert!(
        !in_order || ended.success() || ended.code() == Some(RETIRED),
        "after SIGTERM, the node ended with {ended}"
    );
    ended
}
