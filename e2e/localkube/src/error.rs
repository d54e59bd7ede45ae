//! Errors of a local cluster; the messages name the component, the file and the remedy.

use crate::{
    command, kubectl,
    missing::Missing,
    names::{InstanceName, InvalidName, NodeId},
    network::{self, Ipv4Range},
    wait,
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct Io {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Io {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }
}

/// The reasons for failing to start, use or end a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Prerequisites are missing; the message has a line with the remedy for each.
    #[error("{}", Lines(.0))]
    Missing(Vec<Missing>),
    /// A requested address range is in use.
    #[error(
        "address range {range} is already used by {by}; choose another range with --slot or --link, --pods and --services"
    )]
    RangeTaken {
        /// The range requested for the cluster.
        range: Ipv4Range,
        /// The conflicting route or interface.
        by: String,
    },
    /// Every address slot overlaps a route of the host.
    #[error("no free address slot: every slot overlaps a route of this host; give --link, --pods and --services")]
    NoFreeSlot,
    /// The network interface of the cluster exists without a matching cluster in the state directory.
    #[error(
        "interface {0} exists, but this state root has no cluster of that name: end the cluster in its own state root \
         (localkube --state-root DIR down), or choose another --name"
    )]
    InterfaceTaken(String),
    /// The state directory contains files of something other than a cluster.
    #[error("{} is not empty and contains no cluster; choose another --state-root or empty the directory", .0.display())]
    ForeignDirectory(PathBuf),
    /// The state directory is unsuitable for volumes and images.
    #[error("state root {} is on {kind}, but volumes and images need a disk; choose another --state-root", path.display())]
    NotOnDisk {
        /// The state root.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// Socket paths below the state directory would exceed the limit of 107 bytes.
    #[error("state root {} is too long for the paths of sockets below it; choose a shorter --state-root", .0.display())]
    PathTooLong(PathBuf),
    /// The cluster is up and has problems.
    #[error(
        "cluster {name} is up but not healthy: {problems}; see the logs in {}, or end the cluster with 'localkube down'",
        logs.display()
    )]
    Unhealthy {
        /// Name of the cluster.
        name: InstanceName,
        /// The problems, separated by semicolons.
        problems: String,
        /// Directory of the log files.
        logs: PathBuf,
    },
    /// The cluster is not running.
    #[error("cluster {0} is not up; start it with 'localkube up'")]
    NotRunning(InstanceName),
    /// The supervisor ended while the cluster was starting.
    #[error("the cluster ended while starting: {last_line} (log: {})", log.display())]
    Ended {
        /// Last line of the supervisor's log.
        last_line: String,
        /// Path of the supervisor's log.
        log: PathBuf,
    },
    /// A component did not become ready within its deadline.
    #[error("{component} did not become ready: {source} (log: {})", log.display())]
    Slow {
        /// Name of the component.
        component: &'static str,
        /// Path of the component's log.
        log: PathBuf,
        /// The condition and its last observation.
        source: wait::TimedOut,
    },
    /// A process of the cluster is still running 20 s after SIGKILL.
    #[error("process {0} of the cluster did not end after SIGKILL")]
    DoesNotEnd(i32),
    /// The kernel did not release a cgroup of the cluster.
    #[error("cannot remove cgroup {}: {source}", path.display())]
    Cgroup {
        /// Path of the cgroup.
        path: PathBuf,
        /// The error of the last attempt.
        source: io::Error,
    },
    /// The node number is above the number of nodes.
    #[error("this cluster has no {0}")]
    NoSuchNode(NodeId),
    /// The supervisor rejected or could not complete a request.
    #[error("the supervisor could not carry out '{request}': {reason}")]
    Refused {
        /// Description of the request.
        request: String,
        /// Reason given by the supervisor.
        reason: String,
    },
    /// Communication with the supervisor failed.
    #[error("cannot communicate with the supervisor over {}: {source}", socket.display())]
    Control {
        /// Path of the socket.
        socket: PathBuf,
        /// The I/O error or timeout.
        source: io::Error,
    },
    /// A state file is unreadable, for example because another version wrote the file.
    #[error("state file {} is not readable: {source}; remove the cluster with 'localkube down'", path.display())]
    StateFile {
        /// Path of the state file.
        path: PathBuf,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// The persistent volume does not belong to this cluster.
    #[error("volume {0} does not belong to this cluster")]
    UnknownVolume(String),
    /// The output of a tool could not be parsed.
    #[error("unexpected output of {asked}: {source}")]
    Answer {
        /// Name of the command.
        asked: String,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// A line of the audit log could not be parsed.
    #[error("line {line} of {} is not an audit event: {source}", path.display())]
    Audit {
        /// Path of the audit log.
        path: PathBuf,
        /// Line number, starting at 1.
        line: usize,
        /// The JSON error.
        source: serde_json::Error,
    },
    /// A certificate could not be created.
    #[error("cannot create the certificate of {who}: {source}")]
    Certificate {
        /// Name of the certificate.
        who: String,
        /// Error of the certificate library.
        source: rcgen::Error,
    },
    /// The given address ranges do not form a network.
    #[error(transparent)]
    Network(#[from] network::Invalid),
    /// The given name is not a cluster name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A `kubectl` call failed.
    #[error(transparent)]
    Kubernetes(#[from] kubectl::Error),
    /// A condition did not hold within its deadline.
    #[error(transparent)]
    TimedOut(#[from] wait::TimedOut),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] Io),
}

/// Displays a list of missing prerequisites, one on each line.
struct Lines<'a>(&'a [Missing]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, missing) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{missing}")?;
        }
        Ok(())
    }
}
