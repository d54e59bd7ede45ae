//! Outcomes of catalogue commands, and identification of the changed rows.

use crate::ids::{GroupId, NodeId, ReplicaId, StoreId};

/// Outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueOutcome {
    /// The command was carried out, or required no change.
    Done,
    /// The node is registered under this id.
    Node(NodeId),
    /// The node of the registered disk was removed earlier, by force or after a drain.
    NodeRemoved {
        /// True if the node was removed by force. The disk may then hold the only copy of some data until the affected
        /// groups are complete on other nodes.
        forced: bool,
        /// Former id of the node.
        node: NodeId,
    },
    /// The store is declared under this id.
    Store(StoreId),
    /// The group has this replica on the given node.
    Replica(ReplicaId),
    /// The command was refused without any change.
    Refused(Refused),
}

/// Reason why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The command names another cluster, or comes before [`Kind::Init`](super::Kind::Init).
    #[error("the catalogue belongs to another cluster")]
    WrongCluster,
    /// The declared number of replicas exceeds the number of members.
    #[error("{wanted} replicas need {wanted} nodes, there are {have}; add nodes or declare fewer replicas")]
    NotEnoughNodes {
        /// Declared number of replicas.
        wanted: u32,
        /// Number of nodes that accept replicas.
        have: u32,
    },
    /// A retained store already has the declared name.
    #[error(
        "retained store {id} (closed at Unix time {at_us} us) already has this name; adopt it or remove its data first"
    )]
    RetainedDataExists {
        /// Id of the retained store.
        id: StoreId,
        /// Time of the close, Unix time in microseconds.
        at_us: u64,
    },
    /// The store with this name or id has another declarer.
    #[error("the store belongs to {}", declarer(.by))]
    NameTaken {
        /// UID of the other declarer.
        by: String,
    },
    /// No store has this id and the declared name, or the id belonged to a removed store.
    #[error("no store with id {0} and this name exists")]
    StoreNotFound(StoreId),
    /// The data of the store is being removed.
    #[error("store {0} is being removed; retry once its data is gone")]
    StoreRemoving(StoreId),
    /// The number of replicas is not 1, 3, 5 or 7.
    #[error("replicas must be 1, 3, 5 or 7, is {0}")]
    InvalidReplicas(u32),
    /// The node does not exist, or its state does not permit the command.
    #[error("node {0} does not exist, or its state does not permit the command")]
    BadNode(NodeId),
    /// The group or replica does not exist, or its state does not permit the command.
    #[error("group {0}: the group or replica does not exist, or its state does not permit the command")]
    BadReplica(GroupId),
    /// A group still names the node.
    #[error("group {0} still has a replica on the node")]
    StillNamed(GroupId),
    /// The disruption grant is held for another node or by another holder.
    #[error("{holder} holds the disruption grant for node {node}; retry after its release")]
    GrantHeld {
        /// Node of the grant.
        node: NodeId,
        /// Name of the holder.
        holder: String,
    },
    /// An active store with this name has other settings.
    #[error("store {id} has this name and {replicas} replicas")]
    StoreExists {
        /// Id of the store.
        id: StoreId,
        /// Declared number of replicas.
        replicas: u32,
    },
    /// The command follows rules that are not in force yet.
    #[error("the command follows rules {rules}, and rules {in_force} are in force until the upgrade is finished")]
    UpgradePending {
        /// Rules of the command.
        rules: u32,
        /// Rules in force.
        in_force: u32,
    },
    /// An object declares the store, so the store is neither changed nor removed through the API.
    #[error("store {id} is declared by the EventStore with the UID {by}")]
    Declared {
        /// Id of the store.
        id: StoreId,
        /// UID of the declaring object.
        by: String,
    },
}

/// Describes the other declarer of a store.
fn declarer(by: &str) -> String {
    if by.is_empty() {
        "the API: it was created with `taffrail stores create`; set spec.storeId to adopt the store".to_owned()
    } else {
        format!("another declarer (UID {by})")
    }
}

/// A row changed or removed by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Row of the header: counters, cluster id, clock, digest and grant.
    Header,
    /// Row of a node.
    Node(NodeId),
    /// Row of a store.
    Store(StoreId),
    /// Row of a group.
    Group(GroupId),
    /// Row of a removed store's id.
    RemovedStore(StoreId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_says_whose_store_it_is_and_how_an_object_adopts_a_store_without_a_declarer() {
        let sentence = |by: &str| Refused::NameTaken { by: by.into() }.to_string();
        assert_eq!(sentence("u1"), "the store belongs to another declarer (UID u1)");
        let created = "the store belongs to the API: it was created with `taffrail stores create`; set spec.storeId to \
                       adopt the store";
        assert_eq!(sentence(""), created);
    }
}
