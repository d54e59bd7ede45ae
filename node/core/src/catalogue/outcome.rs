//! Answers of the catalogue to a command, and the rows that the command has changed.

use crate::ids::{GroupId, NodeId, ReplicaId, StoreId};

/// What apply answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueOutcome {
    /// Done, or nothing was to be done.
    Done,
    /// The node's id.
    Node(NodeId),
    /// The disk's node was removed; by force or after a drain.
    NodeRemoved {
        /// Its data may be the only copy until its groups are whole elsewhere.
        forced: bool,
        /// The id it had.
        node: NodeId,
    },
    /// The store's id.
    Store(StoreId),
    /// The new replica's id.
    Replica(ReplicaId),
    /// Refused, and nothing has changed.
    Refused(Refused),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another cluster's id, or a command before `Init`.
    #[error("the catalogue belongs to another cluster")]
    WrongCluster,
    /// Fewer member nodes than replicas.
    #[error("{wanted} replicas need {wanted} nodes, there are {have}")]
    NotEnoughNodes {
        /// Replicas asked for.
        wanted: u32,
        /// Nodes that can take one.
        have: u32,
    },
    /// A retained store has this name.
    #[error("store {id} of this name is retained since {at_us}")]
    RetainedDataExists {
        /// Its id.
        id: StoreId,
        /// Since when, Unix time in microseconds.
        at_us: u64,
    },
    /// Another declarer has this name.
    #[error("the name is declared by {by}")]
    NameTaken {
        /// Who.
        by: String,
    },
    /// No such store.
    #[error("no store {0}")]
    StoreNotFound(StoreId),
    /// The store is being removed.
    #[error("store {0} is being removed")]
    StoreRemoving(StoreId),
    /// Not 1, 3, 5 or 7.
    #[error("replicas must be 1, 3, 5 or 7, is {0}")]
    InvalidReplicas(u32),
    /// No such node, or it is not in the state for this.
    #[error("node {0} is not there or not in the state for this")]
    BadNode(NodeId),
    /// No such group or replica, or not in the state for this.
    #[error("group {0}: no such replica, or not in the state for this")]
    BadReplica(GroupId),
    /// A group still names the node.
    #[error("group {0} still names the node")]
    StillNamed(GroupId),
    /// Another node is out under a grant.
    #[error("node {node} is out under a grant of {holder}")]
    GrantHeld {
        /// The node.
        node: NodeId,
        /// Who holds it.
        holder: String,
    },
}

/// A row that a command has changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Counters, cluster id, clock, digest, grant.
    Header,
    /// A node.
    Node(NodeId),
    /// A store.
    Store(StoreId),
    /// A group.
    Group(GroupId),
    /// The id of a store that is gone.
    RemovedStore(StoreId),
}
