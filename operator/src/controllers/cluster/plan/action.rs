//! [`Action`]: one thing that a plan tells the operator to do.

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write the identity; `None` mints a new id.
    Record {
        /// The id to write again, where it is known.
        cluster_id: Option<String>,
        /// The Cluster was formed already.
        formed: bool,
        /// Pods that the StatefulSet is to have.
        nodes: i32,
    },
    /// Write down that the Cluster was formed.
    MarkFormed {
        /// Pods that the StatefulSet is to have.
        nodes: i32,
    },
    /// Write down how many pods the StatefulSet is to have.
    RecordNodes(i32),
    /// Make a blank node the first of the cluster.
    Bootstrap {
        /// Its pod.
        pod: String,
        /// Its admin address.
        address: String,
        /// Its disk.
        disk_id: String,
    },
    /// Tell a blank node which cluster it belongs to.
    Join {
        /// Its pod.
        pod: String,
        /// Its admin address.
        address: String,
        /// Its disk.
        disk_id: String,
    },
    /// Close a store whose EventStore is gone, keeping its data.
    Retain {
        /// The store.
        store_id: String,
        /// Name of the EventStore that is gone.
        name: String,
        /// UID of that object.
        declared_by: String,
    },
    /// Move everything off a node.
    Drain {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
        /// Ask for the right to take the node, or renew it, and drain only with it.
        needs_grant: bool,
    },
    /// Take a drain back.
    CancelDrain {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
    },
    /// Put a new node in the place of a lost one.
    Replace {
        /// The lost node.
        old: u64,
        /// The new one.
        new: u64,
        /// Their pod.
        pod: String,
    },
    /// Ask for the right to take a pod, or renew it, and with it move its leaders and evict it.
    Restart {
        /// The node; none if it is not a member, so that nothing depends on it.
        node_id: Option<u64>,
        /// Its pod.
        pod: String,
        /// UID of that pod.
        uid: String,
        /// Whether the pod is ready. One that is not is deleted, because the eviction API refuses it at budget 0.
        ready: bool,
        /// Groups of several voters that it leads: they are moved first.
        leads: u32,
    },
    /// Delete a pod whose process does not run.
    DeleteBroken {
        /// The pod.
        pod: String,
        /// UID of that pod.
        uid: String,
    },
    /// Give the right to take a node back.
    Release {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
    },
}

impl Action {
    /// Whether it takes a node, or part of its work, away.
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
