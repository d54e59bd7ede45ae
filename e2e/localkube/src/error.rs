//! What can go wrong with a local cluster, in words that name the component, the file and the remedy.

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

/// A file operation that failed.
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

/// Anything that keeps a cluster from starting, answering or ending.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine lacks something; each line names one thing and its remedy.
    #[error("{}", Lines(.0))]
    Missing(Vec<Missing>),
    /// The addresses asked for are in use.
    #[error("address range {range} is taken by {by}; choose another with --slot or --link, --pods and --services")]
    RangeTaken {
        /// The range that the cluster would use.
        range: Ipv4Range,
        /// The route or interface that is in the way.
        by: String,
    },
    /// No slot is free.
    #[error(
        "no free address slot: every one of them overlaps a route of this host; give --link, --pods and --services"
    )]
    NoFreeSlot,
    /// An interface of the name that this cluster would use exists.
    #[error(
        "interface {0} exists, but no cluster of that name in this state directory: another state directory may hold it \
         (localkube --state-root DIR down), or choose another --name"
    )]
    InterfaceTaken(String),
    /// The state directory holds something else.
    #[error("{} is not empty and holds no cluster; choose another --state-root or empty it", .0.display())]
    ForeignDirectory(PathBuf),
    /// The state directory is no place for volumes and images.
    #[error("{} is on {kind}, and volumes and images need a disk; choose another --state-root", path.display())]
    NotOnDisk {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// A socket path has room for 107 bytes.
    #[error("{} is too long a path for sockets below it; choose a shorter --state-root", .0.display())]
    PathTooLong(PathBuf),
    /// The cluster is up, but not as it should be.
    #[error("cluster {name} is up but not healthy: {problems}; logs are in {}; 'localkube down' ends it", logs.display())]
    Unhealthy {
        /// Which cluster.
        name: InstanceName,
        /// What is wrong, one after the other.
        problems: String,
        /// Where to look.
        logs: PathBuf,
    },
    /// No cluster of this name is up.
    #[error("cluster {0} is not up; 'localkube up' starts it")]
    NotRunning(InstanceName),
    /// The supervisor ended while the cluster was starting.
    #[error("the cluster ended while starting: {last_line} (log: {})", log.display())]
    Ended {
        /// The last line it printed.
        last_line: String,
        /// Where the rest is.
        log: PathBuf,
    },
    /// A part of the cluster did not come up in time.
    #[error("{component} did not come up: {source}; log: {}", log.display())]
    Slow {
        /// Which part.
        component: &'static str,
        /// Where to look.
        log: PathBuf,
        /// What was waited for.
        source: wait::TimedOut,
    },
    /// A process of the cluster outlived its end.
    #[error("process {0} of the cluster did not end")]
    DoesNotEnd(i32),
    /// The kernel still holds a cgroup of the cluster.
    #[error("cgroup {} does not go away: {source}", path.display())]
    Cgroup {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The cluster has no such node.
    #[error("this cluster has no {0}")]
    NoSuchNode(NodeId),
    /// The supervisor could not do what was asked.
    #[error("the supervisor refused '{request}': {reason}")]
    Refused {
        /// What was asked.
        request: String,
        /// Its answer.
        reason: String,
    },
    /// Talking to the supervisor failed.
    #[error("cannot talk to the supervisor over {}: {source}", socket.display())]
    Control {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A state file is not what this version wrote.
    #[error("{} is not readable: {source}; 'localkube down' cleans up", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A persistent volume is not one of this cluster's.
    #[error("volume {0} is not one of this cluster")]
    UnknownVolume(String),
    /// The answer of a tool was not understood.
    #[error("unexpected answer to {asked}: {source}")]
    Answer {
        /// What was asked.
        asked: String,
        /// Why it was not understood.
        source: serde_json::Error,
    },
    /// A line of the audit log is not understood.
    #[error("line {line} of {} is not an audit event: {source}", path.display())]
    Audit {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Making certificates failed.
    #[error("cannot make the certificate of {who}: {source}")]
    Certificate {
        /// Whose.
        who: String,
        /// Why.
        source: rcgen::Error,
    },
    /// Given ranges are no network.
    #[error(transparent)]
    Network(#[from] network::Invalid),
    /// A given name is no name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// Kubernetes gave no usable answer.
    #[error(transparent)]
    Kubernetes(#[from] kubectl::Error),
    /// A condition did not come true.
    #[error(transparent)]
    TimedOut(#[from] wait::TimedOut),
    /// A file operation failed.
    #[error(transparent)]
    Io(#[from] Io),
}

/// One missing thing a line.
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
