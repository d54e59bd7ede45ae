//! Protocol between host and supervisor: a request and a response over a Unix socket in the state directory, each a
//! single line of JSON.

use crate::{error::Error, names::NodeId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, io, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// Maximum length of a line; bounds the memory used for an invalid client.
pub(crate) const LINE_BYTES_MAX: u64 = 1 << 20;

/// Time limit of a request. The longest request imports an image on every node.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A network connection to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// Packets from the pods of one node to the pods of another.
    Pods {
        /// Node of the sending pods.
        from: NodeId,
        /// Node of the receiving pods.
        to: NodeId,
    },
    /// Packets between the API server and a node: from the node's kubelet and pods to the API server, and from the API
    /// server to the kubelet.
    Api {
        /// The isolated node.
        node: NodeId,
    },
}

impl Cut {
    /// Returns the nodes named in the cut.
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

/// A request of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    /// Imports an archive from the `images` directory on every running node. Stopped nodes import the
    /// archive when started.
    LoadImage {
        file: String,
    },
    /// Replaces the set of active cuts.
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

/// A response of the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    Done,
    Status(Status),
    VolumeAdded { volume: String },
    Failed { reason: String },
}

/// The state of a cluster, as known to the supervisor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Components outside the nodes.
    pub components: Vec<ComponentStatus>,
    /// All nodes, in order.
    pub nodes: Vec<NodeStatus>,
    /// Set while the API server is stopped on request.
    pub api_paused: bool,
    /// The active cuts.
    pub cuts: Vec<CutStatus>,
}

impl Status {
    /// Returns descriptions of all deviations from the healthy state.
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

/// The state of a component.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Name of the component and of its log file.
    pub name: String,
    /// Set while the component is running.
    pub running: bool,
    /// Number of restarts after unexpected exits.
    pub restarts: u32,
    /// Description of the last unexpected exit.
    pub last_exit: Option<String>,
}

impl ComponentStatus {
    fn last_exit_or_none(&self) -> &str {
        self.last_exit.as_deref().unwrap_or("never ended")
    }
}

/// The state of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: NodeId,
    /// Set while the node is stopped on request.
    pub stopped: bool,
    /// The node's containerd and kubelet.
    pub components: Vec<ComponentStatus>,
}

/// An active cut, with the number of dropped packets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CutStatus {
    pub cut: Cut,
    /// Packets dropped since the last change of the set of cuts.
    pub packets_dropped: u64,
}

/// Sends a request and waits for the response.
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

/// Writes `value` as a line of JSON.
pub(crate) async fn send<T: Serialize>(stream: &mut UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Reads a line of JSON.
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
