//! [`Action`]: a single operation of a plan.

/// Single operation of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Record the identity; without `cluster_id` a new id is created.
    Record {
        /// Known id to record again.
        cluster_id: Option<String>,
        /// The Cluster was formed already.
        formed: bool,
        /// Number of pods that the StatefulSet should have.
        nodes: i32,
    },
    /// Record the formation of the Cluster.
    MarkFormed {
        /// Number of pods that the StatefulSet should have.
        nodes: i32,
    },
    /// Record the number of pods that the StatefulSet should have.
    RecordNodes(i32),
    /// Make a blank node the first node of the cluster.
    Bootstrap { pod: String, address: String, disk_id: String },
    /// Assign a blank node to the cluster.
    Join { pod: String, address: String, disk_id: String },
    /// Retain a store without an EventStore: close the store and keep its data.
    Retain {
        store_id: String,
        /// Name of the deleted EventStore.
        name: String,
        /// UID of the deleted EventStore.
        declared_by: String,
    },
    /// Drain a node: move everything off the node.
    Drain {
        node_id: u64,
        pod: String,
        /// Request or renew the disruption grant, and drain only under the grant.
        needs_grant: bool,
    },
    /// Cancel the drain of a node.
    CancelDrain { node_id: u64, pod: String },
    /// Replace a lost node by a new node.
    Replace {
        /// Id of the lost node.
        old: u64,
        /// Id of the new node.
        new: u64,
        /// Pod of both nodes.
        pod: String,
    },
    /// Restart a pod: request or renew the disruption grant, move the leaders off, evict the pod.
    Restart {
        /// Id of the node; `None` if the node is not a member, so that nothing depends on the pod.
        node_id: Option<u64>,
        pod: String,
        /// UID of the pod.
        uid: String,
        /// Readiness of the pod. An unready pod is deleted, because the eviction API refuses the eviction at a
        /// budget of 0.
        ready: bool,
        /// Number of led groups with several voters; their leaders are moved first.
        leads: u32,
    },
    /// Delete a pod whose process does not run.
    DeleteBroken {
        pod: String,
        /// UID of the pod.
        uid: String,
    },
    /// Release the disruption grant of a node.
    Release { node_id: u64, pod: String },
}

impl Action {
    /// Returns whether the action takes away a node or a part of its work.
    pub(crate) fn disturbs(&self) -> bool {
        match self {
            Self::Drain { .. } | Self::Replace { .. } | Self::Restart { .. } | Self::DeleteBroken { .. } => true,
            Self::Record { .. }
            | Self::MarkFormed { .. }
            | Self::RecordNodes(_)
            | Self::Bootstrap { .. }
            | Self::Join { .. }
            | Self::Retain { .. }
            | Self::CancelDrain { .. }
            | Self::Release { .. } => false,
        }
    }
}
