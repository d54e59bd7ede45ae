//! The readiness of a node, as `/readyz` shows it.

use std::fmt;

/// Whether this node can serve, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Opening its databases.
    Starting,
    /// The disk is blank, and the node was not told its cluster yet.
    WaitingForCluster,
    /// The cluster is known, a node id is not.
    Joining,
    /// The start barrier: groups that have a leader have not applied up to its commit index yet.
    CatchingUp {
        /// Number of such groups.
        groups: usize,
    },
    /// The node must not serve.
    Fenced {
        /// Reason of the fence.
        reason: String,
    },
    /// The process was told to stop.
    ShuttingDown,
    /// The node serves.
    Ready,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::WaitingForCluster => f.write_str("waiting to be told its cluster"),
            Self::Joining => f.write_str("joining: no node id yet"),
            Self::CatchingUp { groups } => write!(f, "catching up: {groups} groups"),
            Self::Fenced { reason } => write!(f, "fenced: {reason}"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::Ready => f.write_str("ok"),
        }
    }
}
