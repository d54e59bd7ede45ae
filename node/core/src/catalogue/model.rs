//! The rows of the catalogue.

use crate::{
    ids::{ClusterId, Digest, DiskId, GroupId, NodeId, PartitionId, ReplicaId, StoreId},
    names::StoreName,
};
use std::collections::{BTreeMap, BTreeSet};

/// A node's place in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Takes replicas.
    Member,
    /// Gives its replicas away.
    Draining,
    /// Lost: its successor takes its place in every group.
    Replacing {
        /// The successor; none: wherever there is room.
        by: Option<NodeId>,
    },
    /// Gone. Its id and disk never come back.
    Removed {
        /// Without having given its replicas away.
        forced: bool,
    },
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its disk.
    pub disk: DiskId,
    /// Pod or host name.
    pub name: String,
    /// Address for peers.
    pub address: String,
    /// Version of its binary.
    pub version: String,
    /// Its place.
    pub state: NodeState,
}

/// A store's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// Served.
    Active,
    /// Kept, not served.
    Retained {
        /// Since, Unix time in microseconds.
        at_us: u64,
    },
    /// Being removed.
    Removing,
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub name: StoreName,
    /// Voters wanted.
    pub replicas: u32,
    /// Its place.
    pub state: StoreState,
    /// Its partition and the group that holds it. One today.
    pub partition: PartitionId,
    /// See `partition`.
    pub group: GroupId,
    /// Who declared it.
    pub declared_by: String,
}

/// How far a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupPhase {
    /// Its initializer makes the first membership out of these replicas.
    Creating {
        /// The first voters.
        initial: BTreeSet<ReplicaId>,
        /// Who calls initialize; should it be lost before, the others do, with the same replicas.
        initializer: ReplicaId,
    },
    /// It had a leader once; never initialised again.
    Formed,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Exists, or is to exist; not a voter yet.
    Joining,
    /// Votes.
    Active,
    /// No membership names it; its data is being removed.
    Leaving,
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it lives.
    pub node: NodeId,
    /// How far it is.
    pub state: ReplicaState,
}

/// A store group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its store.
    pub store: StoreId,
    /// Its partition.
    pub partition: PartitionId,
    /// How far it is.
    pub phase: GroupPhase,
    /// Its replicas.
    pub replicas: BTreeMap<ReplicaId, Replica>,
}

impl Group {
    /// Nodes that have, or are to have, a replica that is not leaving.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.values().filter(|r| r.state != ReplicaState::Leaving).map(|r| r.node)
    }
    /// The replica on a node that is not leaving.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|(_, r)| r.node == node && r.state != ReplicaState::Leaving).map(|(id, _)| *id)
    }
}

/// Leave to take one node away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The node.
    pub node: NodeId,
    /// Who has it.
    pub holder: String,
    /// Until, by the catalogue's clock.
    pub until_us: u64,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The cluster; none before `Init`.
    pub cluster: Option<ClusterId>,
    /// Rises with every command that changed something.
    pub version: u64,
    /// The largest stamp seen.
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
    /// Nodes, removed ones too.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Stores.
    pub stores: BTreeMap<StoreId, Store>,
    /// Ids of stores that are gone from every node. No store ever gets one of them again.
    pub removed_stores: BTreeSet<StoreId>,
    /// Store groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// The one grant.
    pub grant: Option<Grant>,
}

/// Voters of the system group, by the number of nodes: an even number would gain nothing but a larger majority.
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
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| n.state == NodeState::Member).map(|(id, _)| *id)
    }

    /// Nodes that have not been removed, whatever they are to become.
    pub fn present(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().filter(|(_, n)| !matches!(n.state, NodeState::Removed { .. })).map(|(id, _)| *id)
    }

    /// The node of a disk, removed ones too.
    #[must_use]
    pub fn node_of_disk(&self, disk: DiskId) -> Option<NodeId> {
        self.nodes.iter().find(|(_, n)| n.disk == disk).map(|(id, _)| *id)
    }

    /// A store by name: the active or removing one before retained ones.
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

    /// Names of the active stores whose name within their namespace is `name`, in order. Retained stores and stores that
    /// are being removed do not count: nobody calls them, and a name must not stay ambiguous because of a store that was
    /// deleted long ago.
    #[must_use]
    pub fn stores_with_name(&self, name: &str) -> Vec<StoreName> {
        let active = |s: &&Store| match s.state {
            StoreState::Active => s.name.name() == name,
            StoreState::Retained { .. } | StoreState::Removing => false,
        };
        let found: BTreeSet<StoreName> = self.stores.values().filter(active).map(|s| s.name.clone()).collect();
        found.into_iter().collect()
    }

    /// Replicas per node that can take more, fewest first, then lowest id.
    #[must_use]
    pub fn by_load(&self) -> Vec<NodeId> {
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

    /// The grant, if it is still live.
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
