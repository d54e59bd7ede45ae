//! [`Node`]: one running node process. [`Refused`]: a start that the node refused.

use crate::common::{LOOK, PATIENCE, PORT_TAKEN, Ports, until};
use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use taffrail_client::{Client, ConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::Instant,
};

impl Ports {
    /// The flags for these ports.
    pub(crate) fn flags(self) -> Vec<String> {
        [("clients", self.clients), ("peers", self.peers), ("admin", self.admin), ("http", self.http)]
            .iter()
            .flat_map(|(name, port)| [format!("--listen-{name}"), format!("127.0.0.1:{port}")])
            .collect()
    }
}

/// The binary, without variables that could be settings.
pub(crate) fn taffrail() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_taffrail")))
}

/// Removes variables that could be settings from the environment of a command.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("TAFFRAIL_") || n.starts_with("POD_")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running single node.
pub(crate) struct Node {
    child: Child,
    log: PathBuf,
    pub(crate) ports: Ports,
}

impl Node {
    /// Starts on this directory, and waits until the node is ready and serves its store.
    pub(crate) async fn start(data: &Path) -> Self {
        let node = Self::start_with(data, &[]).await;
        node.serves("default").await;
        node
    }

    /// Starts with these variables, and waits until the node is ready.
    pub(crate) async fn start_with(data: &Path, env: &[(&str, &str)]) -> Self {
        // Another process may take a port between the check and the start; then other ports are tried.
        for _ in 0..5 {
            let mut node = Self::spawn(data, env);
            if node.ready().await {
                return node;
            }
        }
        panic!("no free ports");
    }

    fn spawn(data: &Path, env: &[(&str, &str)]) -> Self {
        let ports = Ports::free(1)[0];
        let log = data.with_extension("log");
        let stderr = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = taffrail();
        command.args(["serve", "--single", "--data-dir"]).arg(data).args(ports.flags());
        command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(stderr);
        Self { child: command.spawn().unwrap(), log, ports }
    }

    /// False when a port was taken.
    async fn ready(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(PORT_TAKEN), "the node ended: {}", self.said());
                return false;
            }
            if self.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            assert!(Instant::now() < end, "the node is not ready: {}", self.said());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a store has a leader.
    pub(crate) async fn serves(&self, store: &str) {
        let client = self.client();
        until("the store to have a leader", async || match client.store(store).await {
            Ok(store) if store.leader_node_id.is_some() => Ok(()),
            Ok(store) => Err(format!("{store:?}")),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.clients)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect_lazy(&self.endpoint(), ConnectOptions::default()).unwrap().with_timeout(PATIENCE)
    }

    /// A page of the HTTP port, headers included.
    pub(crate) async fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.ports.http))).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Output of all nodes on this directory.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGKILL; the process writes nothing more.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        let status = self.child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}: {}", self.said());
        self.calm();
    }

    /// Sends SIGTERM; returns exit status, duration and output.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().unwrap())).unwrap();
        let begun = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the node does not end").unwrap();
        self.calm();
        (status, begun.elapsed(), self.said())
    }

    /// Checks that the process lives and nothing has panicked.
    pub(crate) fn alive(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the node ended: {}", self.said());
        self.calm();
    }

    fn calm(&self) {
        let said = self.said();
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Exit status and output of a refused start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Refused {
    /// Waits for the end; a node that serves instead is killed and fails the test.
    pub(crate) async fn of(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.expect("a start was not refused").unwrap();
        Self { status: output.status, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// `taffrail serve` with these arguments.
    pub(crate) async fn serve<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = taffrail();
        command.arg("serve").args(args);
        Self::of(command).await
    }

    /// Checks the exit code, and that the error line contains all of `words`.
    pub(crate) fn says(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("taffrail: ")).collect();
        assert!(
            lines.iter().any(|line| words.iter().all(|word| line.contains(word))),
            "no line with all of {words:?} in {lines:#?}"
        );
        self
    }
}
