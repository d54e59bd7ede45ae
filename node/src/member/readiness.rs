//! The readiness of a node, shown by `/readyz` and by the admin RPC `Status`.

use std::fmt;
use taffrail_proto::admin::FenceCause;

/// Explanation of the fence of a node whose disk went back to an earlier state.
pub(super) const REVERTED_TEXT: &str = "the disk went back to an earlier state, as a restored volume does, or is a copy of \
     the disk of another node; the node stays fenced until all its groups have a caught-up majority on other nodes, and \
     then joins as a new node";

/// Readiness of a node: ready, or the reason why the node cannot serve yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The process has started, and the state of the disk is not known yet.
    Starting,
    /// The disk is blank, and no `Bootstrap` or `Join` request has named a cluster yet.
    WaitingForCluster,
    /// The cluster is known. The node id, or the confirmation of the membership, is missing.
    Joining,
    /// The node waits at the [start barrier](super::ready): some replicas have not applied the log up to the commit
    /// index of the leader.
    CatchingUp {
        /// Number of groups with a lagging replica on this node.
        groups: usize,
    },
    /// The node must not serve any more.
    Fenced {
        /// Cause of the fence.
        cause: FenceCause,
        /// Reason of the fence, as a sentence.
        reason: String,
    },
    /// The process is stopping after a signal.
    ShuttingDown,
    /// The node serves clients.
    Ready,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::WaitingForCluster => f.write_str("waiting for a bootstrap or join request that names the cluster"),
            Self::Joining => f.write_str("joining: no node id yet"),
            Self::CatchingUp { groups } => write!(f, "catching up: {groups} groups"),
            Self::Fenced { reason, .. } => write!(f, "fenced: {reason}"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::Ready => f.write_str("ok"),
        }
    }
}
