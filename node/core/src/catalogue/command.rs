//! Commands of the system group's log, and the versions of the rules that apply them.

use crate::{
    ids::{ClusterId, DiskId, GroupId, NodeId, ReplicaId, StoreId},
    names::StoreName,
};

/// Newest rules that this version knows.
pub const RULES: u32 = 1;
/// Rules in force: those that every catalogue begins under. The coordinator proposes under these rules, not under the
/// newest that it knows, which would stop the members of an older version. No command raises them yet.
pub const RULES_IN_FORCE: u32 = 1;

/// A command of the system group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Rules that the command was proposed under.
    pub rules: u32,
    /// Clock of the proposer, Unix time in microseconds. The catalogue's clock never goes back.
    pub stamp_us: u64,
    /// Kind of the command.
    pub kind: Kind,
}

/// Registration of a node, as the node describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Disk of the node.
    pub disk: DiskId,
    /// Pod or host name.
    pub name: String,
    /// Address for peers, `host:port`.
    pub address: String,
    /// Version of the node's binary.
    pub version: String,
}

/// Declaration of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Name of the store.
    pub name: StoreName,
    /// Number of voters: 1, 3, 5 or 7.
    pub replicas: u32,
    /// Retained store to adopt.
    pub adopt: Option<StoreId>,
    /// Id of the store if it is new, minted by the proposer.
    pub minted: StoreId,
    /// UID of the declarer; empty for nobody in particular.
    pub declared_by: String,
}

/// Fate of a closed store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// The data is kept, not served.
    Retain,
    /// Every node removes the data.
    Delete,
}

/// Kinds of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Starts the cluster: the first command of its log.
    Init {
        /// Id of the cluster.
        cluster: ClusterId,
        /// First node; it gets id 1.
        first: Registration,
    },
    /// Gives a disk its node id.
    Register(Registration),
    /// Creates, changes or adopts a store.
    Declare(Declaration),
    /// Records that the group had its first leader.
    GroupFormed(GroupId),
    /// Adds a replica to a group.
    AddReplica {
        /// The group.
        group: GroupId,
        /// Node of the new replica.
        node: NodeId,
    },
    /// Records that the replica votes.
    ReplicaActive {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Retires a replica that no membership names any more: its node removes the data.
    RetireReplica {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Forgets a replica whose node has removed the data, or is gone for good.
    DropReplica {
        /// The group.
        group: GroupId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Closes a store that is no longer declared.
    Close {
        /// The store.
        store: StoreId,
        /// Fate of the data.
        mode: CloseMode,
        /// Declarer that the store must have; empty: any.
        declared_by: String,
    },
    /// Forgets a store whose data is gone from every node.
    StoreGone(StoreId),
    /// Moves all replicas away from a node, and then removes the node.
    Drain(NodeId),
    /// Cancels a drain.
    CancelDrain(NodeId),
    /// Removes a drained node that no group names any more.
    Drained(NodeId),
    /// Replaces a lost node in every group.
    Replace {
        /// The lost node.
        old: NodeId,
        /// The successor; `None`: any node that has room.
        new: Option<NodeId>,
    },
    /// Removes a lost node that no group names any more.
    Replaced(NodeId),
    /// Acquires or renews the disruption grant for a node.
    AcquireGrant {
        /// The node.
        node: NodeId,
        /// Name of the holder.
        holder: String,
        /// Longest time of the grant, microseconds.
        ttl_us: u64,
    },
    /// Releases the disruption grant: the node is back.
    ReleaseGrant {
        /// The node.
        node: NodeId,
        /// Name of the holder.
        holder: String,
    },
}
