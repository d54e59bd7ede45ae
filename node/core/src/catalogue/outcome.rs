//! Answers of the catalogue to a command, and the rows that the command has changed.

use crate::ids::{GroupId, NodeId, ReplicaId, StoreId};

/// Outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueOutcome {
    /// The command is carried out, or there was nothing to do.
    Done,
    /// Id of the node.
    Node(NodeId),
    /// The node of the disk was removed, by force or after a drain.
    NodeRemoved {
        /// True for removed by force: the disk may hold the only copy of data until its groups are whole elsewhere.
        forced: bool,
        /// Id that the node had.
        node: NodeId,
    },
    /// Id of the store.
    Store(StoreId),
    /// Id of the new replica.
    Replica(ReplicaId),
    /// The command is refused, and has changed nothing.
    Refused(Refused),
}

/// Reason why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The command names another cluster, or comes before [`Kind::Init`](super::Kind::Init).
    #[error("the catalogue belongs to another cluster")]
    WrongCluster,
    /// There are fewer member nodes than replicas.
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
        /// Id of the retained store.
        id: StoreId,
        /// Time of the close, Unix time in microseconds.
        at_us: u64,
    },
    /// A store of another declarer has this name.
    #[error("the name is declared by {by}")]
    NameTaken {
        /// UID of the other declarer.
        by: String,
    },
    /// There is no such store.
    #[error("no store {0}")]
    StoreNotFound(StoreId),
    /// The store is being removed.
    #[error("store {0} is being removed")]
    StoreRemoving(StoreId),
    /// The number of replicas is not 1, 3, 5 or 7.
    #[error("replicas must be 1, 3, 5 or 7, is {0}")]
    InvalidReplicas(u32),
    /// There is no such node, or its state does not allow the command.
    #[error("node {0} is not there or not in the state for this")]
    BadNode(NodeId),
    /// There is no such group or replica, or its state does not allow the command.
    #[error("group {0}: no such replica, or not in the state for this")]
    BadReplica(GroupId),
    /// A group still names the node.
    #[error("group {0} still names the node")]
    StillNamed(GroupId),
    /// Another holder has the disruption grant.
    #[error("node {node} is out under a grant of {holder}")]
    GrantHeld {
        /// Node of the grant.
        node: NodeId,
        /// Name of the holder.
        holder: String,
    },
}

/// A row that a command has changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// The header: counters, cluster id, clock, digest and grant.
    Header,
    /// A node.
    Node(NodeId),
    /// A store.
    Store(StoreId),
    /// A group.
    Group(GroupId),
    /// The id of a store that was removed.
    RemovedStore(StoreId),
}
