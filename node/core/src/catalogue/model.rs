//! Rows of the catalogue: nodes, stores, groups and the grant.

use crate::{
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, PartitionId, ReplicaId, StoreId},
    names::StoreName,
};
use std::collections::{BTreeMap, BTreeSet};

/// State of a node in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The node takes replicas.
    Member,
    /// The replicas of the node move away.
    Draining,
    /// The node is lost: its successor takes its place in every group.
    Replacing {
        /// The successor; `None`: any node that has room.
        by: Option<NodeId>,
    },
    /// The node is gone. Its id and disk never come back.
    Removed {
        /// True if the node had not given its replicas away.
        forced: bool,
    },
}

/// A node of the cluster: one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Disk of the node.
    pub disk: DiskId,
    /// Pod or host name.
    pub name: String,
    /// Address for peers, `host:port`.
    pub address: String,
    /// Version of the node's binary.
    pub version: String,
    /// State in the cluster.
    pub state: NodeState,
}

/// State of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// The store takes appends and reads.
    Active,
    /// The data is kept, not served.
    Retained {
        /// Time of the close, Unix time in microseconds.
        at_us: u64,
    },
    /// The nodes remove the data.
    Removing,
}

/// A store, as it was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Name of the store.
    pub name: StoreName,
    /// Number of voters: 1, 3, 5 or 7.
    pub replicas: u32,
    /// State of the store.
    pub state: StoreState,
    /// Partition that holds the data. A store has one today.
    pub partition: PartitionId,
    /// Group that replicates the partition.
    pub group: GroupId,
    /// UID of the declarer; empty for nobody in particular.
    pub declared_by: String,
}

/// Phase in the life of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupPhase {
    /// The initializer makes the first membership of the group.
    Creating {
        /// The first voters.
        initial: BTreeSet<ReplicaId>,
        /// The replica that initialises the group. If it is lost before that, the others do, with the same replicas.
        initializer: ReplicaId,
    },
    /// The group had a leader once, and is never initialised again.
    Formed,
}

/// State of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// The replica exists or is to exist, and does not vote yet.
    Joining,
    /// The replica votes.
    Active,
    /// No membership names the replica, and its node removes the data.
    Leaving,
}

/// A replica of a store group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Node that holds the replica.
    pub node: NodeId,
    /// State of the replica.
    pub state: ReplicaState,
}

/// A Raft group that replicates one partition of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Store of the partition.
    pub store: StoreId,
    /// Partition that the group replicates.
    pub partition: PartitionId,
    /// Phase in the life of the group.
    pub phase: GroupPhase,
    /// Replicas of the group, those that leave too.
    pub replicas: BTreeMap<ReplicaId, Replica>,
}

impl Group {
    /// Nodes of the replicas that are not leaving.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.values().filter(|r| r.state != ReplicaState::Leaving).map(|r| r.node)
    }
    /// The replica on this node, if it is not leaving.
    pub(crate) fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|(_, r)| r.node == node && r.state != ReplicaState::Leaving).map(|(id, _)| *id)
    }
}

/// The disruption grant: permission to take one node away for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Node that may be taken away.
    pub node: NodeId,
    /// Name of the holder.
    pub holder: String,
    /// End of the grant by the catalogue's clock, Unix time in microseconds.
    pub until_us: u64,
}

/// The whole catalogue. [`apply`](super::apply()) is the only writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Id of the cluster; `None` before [`Kind::Init`](super::Kind::Init).
    pub cluster: Option<ClusterId>,
    /// Number of commands that have changed a row.
    pub version: u64,
    /// Largest stamp of a command, Unix time in microseconds.
    pub clock_us: u64,
    /// Running digest of commands and outcomes.
    pub digest: Digest,
    /// Next node id.
    pub next_node: u64,
    /// Next replica id of store groups; far above node ids, so that no two replica ids are ever equal.
    pub next_replica: u64,
    /// Next group id; 0 is the system group.
    pub next_group: u64,
    /// Next partition id.
    pub next_partition: u64,
    /// Nodes, with those that were removed.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Stores, with those that are retained or being removed.
    pub stores: BTreeMap<StoreId, Store>,
    /// Ids of stores that are gone from every node. No store ever gets one of them again.
    pub removed_stores: BTreeSet<StoreId>,
    /// Store groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// The disruption grant, which may have run out; see [`Catalogue::live_grant`].
    pub grant: Option<Grant>,
}

/// Number of voters of the system group, by the number of nodes. An even number would gain nothing but a larger
/// majority.
#[must_use]
pub fn system_voters(nodes: usize) -> usize {
    match nodes {
        0..=3 => nodes,
        4 => 3,
        _ => 5,
    }
}

impl Catalogue {
    /// Nodes that may take new replicas.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| n.state == NodeState::Member).map(|(id, _)| *id)
    }

    /// Nodes that have not been removed, whatever they are to become.
    pub(crate) fn present(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. })).map(|(id, _)| *id)
    }

    /// The node of a disk, even if the node was removed.
    pub(crate) fn node_of_disk(&self, disk: DiskId) -> Option<NodeId> {
        self.nodes.iter().find(|(_, n)| n.disk == disk).map(|(id, _)| *id)
    }

    /// The store with this name: the active one or the one that is being removed, before retained ones.
    #[must_use]
    pub fn store_named(&self, name: &StoreName) -> Option<(StoreId, &Store)> {
        let mut found: Option<(StoreId, &Store)> = None;
        for (id, store) in self.stores.iter().filter(|(_, s)| s.name == *name) {
            let retained = matches!(store.state, StoreState::Retained { .. });
            if found.is_none() || !retained {
                found = Some((*id, store));
            }
        }
        found
    }

    /// Names of the active stores whose name within their namespace is `name`, in order. Retained stores and stores
    /// that are being removed do not count: nobody calls them, and a name must not stay ambiguous because of a store
    /// that was deleted long ago.
    #[must_use]
    pub fn stores_with_name(&self, name: &str) -> Vec<StoreName> {
        let active = |s: &&Store| match s.state {
            StoreState::Active => s.name.name() == name,
            StoreState::Retained { .. } | StoreState::Removing => false,
        };
        let found: BTreeSet<StoreName> = self.stores.values().filter(active).map(|s| s.name.clone()).collect();
        found.into_iter().collect()
    }

    /// Nodes that may take new replicas: those with the fewest replicas first, then by id.
    pub(crate) fn by_load(&self) -> Vec<NodeId> {
        let mut load: BTreeMap<NodeId, usize> = self.members().map(|n| (n, 0)).collect();
        for node in self.groups.values().flat_map(Group::nodes) {
            if let Some(n) = load.get_mut(&node) {
                *n += 1;
            }
        }
        let mut nodes: Vec<(usize, NodeId)> = load.into_iter().map(|(node, n)| (n, node)).collect();
        nodes.sort_unstable();
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// The disruption grant, if it has not run out.
    #[must_use]
    pub fn live_grant(&self, now_us: u64) -> Option<&Grant> {
        self.grant.as_ref().filter(|g| g.until_us > now_us.max(self.clock_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn stores_with_a_name_are_the_active_ones_in_any_namespace() {
        let mut c = Catalogue::default();
        let mut put = |namespace: &str, name: &str, state: StoreState| {
            let (partition, group) = (PartitionId::new(1), GroupId::new(1));
            let name = StoreName::new(namespace, name).unwrap();
            let store = Store { name, replicas: 1, state, partition, group, declared_by: String::new() };
            c.stores.insert(StoreId::new(Uuid::from_u128(c.stores.len() as u128)), store);
        };
        put("team-b", "orders", StoreState::Active);
        put("default", "orders", StoreState::Active);
        put("team-c", "orders", StoreState::Removing);
        put("team-d", "orders", StoreState::Retained { at_us: 1 });
        put("default", "payments", StoreState::Active);
        let of = |name: &str| c.stores_with_name(name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("orders"), ["default/orders", "team-b/orders"]);
        assert_eq!(of("payments"), ["default/payments"]);
        assert!(of("nothing").is_empty());
    }
}
