//! Commands of the system group's log, and the versions of the rules that apply them.

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
