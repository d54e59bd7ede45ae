//! What the host asks of the supervisor, and how: one JSON line each way over a socket in the state directory.

use crate::{error::Error, names::NodeId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, io, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// No line is longer: a bound against a stranger on the socket.
pub(crate) const LINE_BYTES_MAX: u64 = 1 << 20;

/// Importing an image on every node is the longest request.
const TIMEOUT: Duration = Duration::from_secs(300);

/// One connection that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Packets from the pods of one node to the pods of another.
    Pods {
        /// Where they come from.
        from: NodeId,
        /// Where they do not arrive.
        to: NodeId,
    },
    /// A node's kubelet and pods from the API server, and the API server from that kubelet.
    Api {
        /// The node.
        node: NodeId,
    },
}

impl Cut {
    /// The nodes it speaks of.
    #[must_use]
    pub fn nodes(self) -> Vec<NodeId> {
        match self {
            Self::Pods { from, to } => vec![from, to],
            Self::Api { node } => vec![node],
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods { from, to } => write!(f, "pods of {from} -> pods of {to}"),
            Self::Api { node } => write!(f, "{node} <-> API server"),
        }
    }
}

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    /// Imports an archive of the `images` directory on every running node, and on the others when they start.
    LoadImage {
        file: String,
    },
    /// Makes these the only cuts.
    SetCuts {
        cuts: BTreeSet<Cut>,
    },
    StopNode {
        node: NodeId,
    },
    StartNode {
        node: NodeId,
    },
    PauseApi,
    ResumeApi,
    WipeVolume {
        node: NodeId,
        volume: String,
    },
    AddLimitedVolume {
        node: NodeId,
        mebibytes: u32,
    },
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => write!(f, "status"),
            Self::LoadImage { file } => write!(f, "load image {file}"),
            Self::SetCuts { cuts } => write!(f, "set {} cuts", cuts.len()),
            Self::StopNode { node } => write!(f, "stop {node}"),
            Self::StartNode { node } => write!(f, "start {node}"),
            Self::PauseApi => write!(f, "pause the API server"),
            Self::ResumeApi => write!(f, "resume the API server"),
            Self::WipeVolume { node, volume } => write!(f, "wipe volume {volume} of {node}"),
            Self::AddLimitedVolume { node, mebibytes } => write!(f, "add a volume of {mebibytes} MiB on {node}"),
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    Done,
    Status(Status),
    VolumeAdded { volume: String },
    Failed { reason: String },
}

/// The state of a cluster as its supervisor sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The components beside the nodes.
    pub components: Vec<ComponentStatus>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// Whether the API server was stopped on request.
    pub api_paused: bool,
    /// What is cut now.
    pub cuts: Vec<CutStatus>,
}

impl Status {
    /// What keeps the cluster from being whole, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let all = self.components.iter().chain(self.nodes.iter().flat_map(|node| &node.components));
        let mut problems: Vec<String> = all
            .filter(|component| !(component.running || self.api_paused && component.name == "kube-apiserver"))
            .map(|component| format!("{} is not running ({})", component.name, component.last_exit_or_none()))
            .collect();
        problems.extend(self.nodes.iter().filter(|node| node.stopped).map(|node| format!("{} is stopped", node.node)));
        problems.extend(self.api_paused.then(|| "the API server is paused".to_owned()));
        problems.extend(self.cuts.iter().map(|cut| format!("cut: {}", cut.cut)));
        problems
    }
}

/// One component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its name, and the name of its log file.
    pub name: String,
    /// Whether it runs now.
    pub running: bool,
    /// How often it ended by itself and was started again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
}

impl ComponentStatus {
    fn last_exit_or_none(&self) -> &str {
        self.last_exit.as_deref().unwrap_or("never ended")
    }
}

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Whether it was stopped on request.
    pub stopped: bool,
    /// Its containerd and kubelet.
    pub components: Vec<ComponentStatus>,
}

/// One cut, and what it has kept from arriving since the cuts last changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CutStatus {
    /// Which.
    pub cut: Cut,
    /// Packets dropped by it.
    pub packets_dropped: u64,
}

/// Asks, and waits for the answer.
pub(crate) async fn ask(socket: &Path, request: &Request) -> Result<Response, Error> {
    let failed = |source| Error::Control { socket: socket.to_owned(), source };
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer to '{request}'"));
    let answer = tokio::time::timeout(TIMEOUT, exchange(socket, request));
    match answer.await.unwrap_or_else(|_| Err(timed_out())).map_err(failed)? {
        Response::Failed { reason } => Err(Error::Refused { request: request.to_string(), reason }),
        answer @ (Response::Done | Response::Status(_) | Response::VolumeAdded { .. }) => Ok(answer),
    }
}

async fn exchange(socket: &Path, request: &Request) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket).await?;
    send(&mut stream, request).await?;
    receive(&mut stream).await
}

/// Writes one line.
pub(crate) async fn send<T: Serialize>(stream: &mut UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Reads one line.
pub(crate) async fn receive<T: for<'a> Deserialize<'a>>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, running: bool) -> ComponentStatus {
        ComponentStatus { name: name.to_owned(), running, restarts: 0, last_exit: None }
    }

    #[test]
    fn a_paused_api_server_is_named_once() {
        let status =
            Status { components: vec![component("kube-apiserver", false)], api_paused: true, ..Status::default() };
        assert_eq!(status.problems(), ["the API server is paused"]);
    }

    #[test]
    fn every_kind_of_problem_is_named() {
        let node: NodeId = "node2".parse().unwrap();
        let status = Status {
            components: vec![component("etcd", true), component("coredns", false)],
            nodes: vec![NodeStatus { node, stopped: true, components: Vec::new() }],
            api_paused: false,
            cuts: vec![CutStatus { cut: Cut::Api { node }, packets_dropped: 3 }],
        };
        let problems = status.problems();
        assert_eq!(problems, ["coredns is not running (never ended)", "node2 is stopped", "cut: node2 <-> API server"]);
    }

    #[tokio::test]
    async fn a_question_gets_its_answer_and_a_refusal_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let serve = async {
            for response in [Response::Done, Response::Failed { reason: "because".to_owned() }] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _: Request = receive(&mut stream).await.unwrap();
                send(&mut stream, &response).await.unwrap();
            }
        };
        let question = async {
            assert!(matches!(ask(&socket, &Request::PauseApi).await, Ok(Response::Done)));
            let error = ask(&socket, &Request::PauseApi).await.unwrap_err();
            assert!(error.to_string().contains("because"), "{error}");
        };
        tokio::join!(serve, question);
    }
}
