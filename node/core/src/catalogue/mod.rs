//! The catalogue of a cluster: the state machine of the system group. Nodes, stores, groups, placements, replacements and
//! the one disruption grant. `apply` is deterministic; what it decides from (placement included) is the catalogue alone.

pub mod apply;
mod digest;
mod kinds;
pub mod model;

pub use apply::{ApplyError, apply};
pub use model::{Catalogue, Grant, Group, GroupPhase, Node, NodeState, Replica, ReplicaState, Store, StoreState};

use crate::{
    ids::{ClusterId, DiskId, GroupId, NodeId, ReplicaId, StoreId},
    names::StoreName,
};

/// The rules that this version knows.
pub const RULES: u32 = 1;
/// The rules in force: those that every catalogue begins under. Whoever coordinates proposes under them, not under the
/// newest that it knows, which would stop the members of an older version. No command raises them yet.
pub const RULES_IN_FORCE: u32 = 1;

/// A command of the system group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The rules it was proposed under.
    pub rules: u32,
    /// The proposer's clock, Unix time in microseconds; never goes back in the catalogue.
    pub stamp_us: u64,
    /// What it does.
    pub kind: Kind,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its disk.
    pub disk: DiskId,
    /// Pod or host name.
    pub name: String,
    /// Address for peers, `host:port`.
    pub address: String,
    /// Version of its binary.
    pub version: String,
}

/// A store as somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name.
    pub name: StoreName,
    /// Voters: 1, 3, 5 or 7.
    pub replicas: u32,
    /// Adopts this retained store.
    pub adopt: Option<StoreId>,
    /// The id of a new store, minted by the proposer.
    pub minted: StoreId,
    /// Who declares it (a UID); empty for nobody in particular.
    pub declared_by: String,
}

/// What becomes of a closed store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Kept, not served.
    Retain,
    /// Removed from every node.
    Delete,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first command of a cluster: its id and its first node.
    Init {
        /// The cluster.
        cluster: ClusterId,
        /// The first node; it gets id 1.
        first: Registration,
    },
    /// A node id for a disk.
    Register(Registration),
    /// A store is wanted, new or changed.
    Declare(Declaration),
    /// The group's first leader was seen.
    GroupFormed(GroupId),
    /// A further replica of a group.
    AddReplica {
        /// The group.
        group: GroupId,
        /// Where.
        node: NodeId,
    },
    /// The replica votes.
    ReplicaActive {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// No membership names the replica any more: its node removes its data.
    RetireReplica {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Its node removed the data, or is gone for good.
    DropReplica {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A store is no longer declared.
    Close {
        /// The store.
        store: StoreId,
        /// What becomes of its data.
        mode: CloseMode,
        /// Who declared it; empty: whoever.
        declared_by: String,
    },
    /// All data of a store that is being removed is gone.
    StoreGone(StoreId),
    /// Empty a node.
    Drain(NodeId),
    /// Do not empty it after all.
    CancelDrain(NodeId),
    /// No group names the node any more.
    Drained(NodeId),
    /// One node takes the place of another in every group.
    Replace {
        /// The lost node.
        old: NodeId,
        /// Its successor; none: wherever there is room.
        new: Option<NodeId>,
    },
    /// No group names the lost node any more.
    Replaced(NodeId),
    /// Somebody wants to take a node away for a while.
    AcquireGrant {
        /// The node.
        node: NodeId,
        /// Who.
        holder: String,
        /// For how long at most, microseconds.
        ttl_us: u64,
    },
    /// The node is back.
    ReleaseGrant {
        /// The node.
        node: NodeId,
        /// Who had it.
        holder: String,
    },
}

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
