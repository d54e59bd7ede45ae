//! Rows of the catalogue: nodes, stores, groups and the disruption grant.

use super::{command::Rules, sharded_map::ShardedMap, stores::Stores};
use crate::{
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, PartitionId, ReplicaId, StoreId},
    names::StoreName,
};
use std::collections::{BTreeMap, BTreeSet};

/// State of a node in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// The node accepts replicas.
    Member,
    /// All replicas of the node move to other nodes.
    Draining,
    /// The node is lost, and other nodes replace all its replicas.
    Replacing {
        /// Preferred successor; `None` for any member.
        by: Option<NodeId>,
    },
    /// The node is removed for good. Neither the id nor the disk is ever accepted again.
    Removed {
        /// True if the node was removed without confirming that its data is gone.
        forced: bool,
    },
}

/// A node of the cluster; exactly one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Disk of the node.
    pub disk: DiskId,
    /// Name of the pod or host.
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
    /// The store serves appends and reads.
    Active,
    /// The store is closed, and the nodes keep the data.
    Retained {
        /// Time of the close, Unix time in microseconds.
        at_us: u64,
    },
    /// The store is closed, and the nodes remove the data.
    Removing,
}

/// A store, as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Name of the store.
    pub name: StoreName,
    /// Number of voters: 1, 3, 5 or 7.
    pub replicas: u32,
    /// State of the store.
    pub state: StoreState,
    /// Partition of the store's data. Every store has exactly one partition today.
    pub partition: PartitionId,
    /// Group that replicates the partition.
    pub group: GroupId,
    /// UID of the declaring object; empty for a store that was created through the API of the nodes.
    pub declared_by: String,
}

impl Store {
    /// Returns true if an object declares the store. Only the declaring object changes or removes such a store.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        !self.declared_by.is_empty()
    }
}

/// Phase in the life of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupPhase {
    /// The group has not had a leader yet.
    Creating {
        /// Voters of the first membership.
        initial: BTreeSet<ReplicaId>,
        /// Replica that writes the first membership. If this replica is lost before the write, the other initial voters
        /// write the same membership.
        initializer: ReplicaId,
    },
    /// The group has had a leader, and is never initialised again.
    Formed,
}

/// State of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// The replica is new and does not vote yet.
    Joining,
    /// The replica votes.
    Active,
    /// The replica is retired, and its node removes the data.
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
    /// Log index at which replicas contradict each other while no majority agrees; `None` without a contradiction. No
    /// replica sends its state to another replica meanwhile.
    pub contradicted: Option<u64>,
    /// Replicas of the group, including leaving replicas.
    pub replicas: BTreeMap<ReplicaId, Replica>,
}

impl Group {
    /// Returns the nodes of all replicas except leaving replicas.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.values().filter(|r| r.state != ReplicaState::Leaving).map(|r| r.node)
    }
    /// Returns the replica on a node, unless the replica is leaving.
    pub(crate) fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|(_, r)| r.node == node && r.state != ReplicaState::Leaving).map(|(id, _)| *id)
    }
}

/// Disruption grant: permission to take a node down temporarily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Node that may be taken down.
    pub node: NodeId,
    /// Name of the holder.
    pub holder: String,
    /// Expiry of the grant by the catalogue's clock, Unix time in microseconds.
    pub until_us: u64,
}

/// State of the catalogue. [`apply`](super::apply()) is the only writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Id of the cluster; `None` before [`Kind::Init`](super::Kind::Init).
    pub cluster: Option<ClusterId>,
    /// Number of commands that have changed a row.
    pub version: u64,
    /// Clock of the catalogue: largest stamp of a command, Unix time in microseconds.
    pub clock_us: u64,
    /// Running digest of all commands and outcomes.
    pub digest: Digest,
    /// Id of the next node.
    pub next_node: u64,
    /// Id of the next replica of a store group. Far above all node ids, so that all replica ids are distinct.
    pub next_replica: u64,
    /// Id of the next store group, from 1; 0 is the system group.
    pub next_group: u64,
    /// Id of the next partition, from 1.
    pub next_partition: u64,
    /// All nodes, including removed nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// All stores, including retained stores and stores being removed.
    pub stores: Stores,
    /// Ids of stores whose data is gone from every node. No new store ever gets such an id.
    pub removed_stores: BTreeSet<StoreId>,
    /// All groups except the system group.
    pub groups: ShardedMap<GroupId, Group>,
    /// Rules of the catalogue in force, and rules that every store must follow. A new store follows the first rules until
    /// the coordinator has raised the rules in the log of the store.
    pub rules: Rules,
    /// Latest disruption grant, possibly expired; see [`Catalogue::live_grant`].
    pub grant: Option<Grant>,
}

/// Returns the number of voters of the system group for a number of nodes.
///
/// Above two voters the number is odd, because an even number needs a larger majority without tolerating more failures.
#[must_use]
pub fn system_voters(nodes: usize) -> usize {
    match nodes {
        0..=3 => nodes,
        4 => 3,
        _ => 5,
    }
}

impl Catalogue {
    /// Returns the nodes that accept new replicas.
    pub(crate) fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| n.state == NodeState::Member).map(|(id, _)| *id)
    }

    /// Returns all nodes in any state except [`NodeState::Removed`].
    pub(crate) fn present(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. })).map(|(id, _)| *id)
    }

    /// Returns the node of a disk, even if the node was removed.
    pub(crate) fn node_of_disk(&self, disk: DiskId) -> Option<NodeId> {
        self.nodes.iter().find(|(_, n)| n.disk == disk).map(|(id, _)| *id)
    }

    /// Returns the store with a given name. An active store, or a store being removed, goes before a retained store.
    #[must_use]
    pub fn store_named(&self, name: &StoreName) -> Option<(StoreId, &Store)> {
        self.stores.named(name)
    }

    /// Returns the full names of all active stores with the short name `name`, sorted, from any namespace.
    ///
    /// Retained stores and stores being removed are not callable and do not count, so that a store deleted long ago
    /// does not keep a short name ambiguous.
    #[must_use]
    pub fn stores_with_name(&self, name: &str) -> Vec<StoreName> {
        let found = self.stores.with_short_name(name).filter(|s| s.state == StoreState::Active);
        let names: BTreeSet<StoreName> = found.map(|s| s.name.clone()).collect();
        names.into_iter().collect()
    }

    /// Returns the nodes that accept new replicas, fewest replicas first; among equals, lowest id first.
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

    /// Returns the disruption grant, unless the grant has expired at `now_us` or by the catalogue's clock.
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
