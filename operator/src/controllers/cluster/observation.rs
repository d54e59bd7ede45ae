//! Observation of a Cluster: plain data, the input of the planner.

use super::node_view;
use crate::resources::{identity::Identity, names};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use taffrail_crds::Reason;
use taffrail_proto::{
    admin::{ClusterView, Lifecycle, NodeStatus, NodeView},
    v1::NodeState,
};

/// Desired state of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Name of the Cluster.
    pub(crate) name: String,
    /// Number of nodes.
    pub(crate) replicas: i32,
    /// `spec.paused` is set: observe only.
    pub(crate) paused: bool,
    /// The Cluster is being deleted.
    pub(crate) deleting: bool,
}

impl Wish {
    /// Returns the pod name of an ordinal.
    pub(crate) fn pod(&self, ordinal: i32) -> String {
        names::pod(&self.name, ordinal)
    }
}

/// Observation of a reconcile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// Record of the cluster id.
    pub(crate) recorded: Recorded,
    /// StatefulSet of the Cluster, if present.
    pub(crate) set: Option<SetObservation>,
    /// Node pods by ordinal.
    pub(crate) pods: BTreeMap<i32, PodObservation>,
    /// Reason of Kubernetes for creating no pods, if reported.
    pub(crate) creation: Option<PodProblem>,
    /// View of the cluster by the coordinator, read in this reconcile; `None` when no member answers.
    pub(crate) view: Option<ClusterView>,
    /// Error of the failed read of the view.
    pub(crate) view_error: Option<String>,
    /// EventStores of this Cluster.
    pub(crate) stores: Vec<StoreObservation>,
}

/// Record of the cluster id, by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// No record: nothing was ever formed.
    #[default]
    Nowhere,
    /// Record in the identity ConfigMap, the normal place.
    Identity(Identity),
    /// Record only in annotations of the StatefulSet and of volume claims: the ConfigMap is lost.
    Annotations(String),
    /// Contradicting records (`ForeignVolumes`), or a foreign ConfigMap with the name of the identity (`NameTaken`).
    Conflict(Reason, String),
}

/// Observed state of the StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetObservation {
    /// Number of pods in the spec.
    pub(crate) replicas: i32,
    /// Revision of the current template, once Kubernetes has computed the revision for the newest generation.
    pub(crate) revision: Option<String>,
}

/// Observed state of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodObservation {
    pub(crate) name: String,
    /// UID, so that only this very pod is ever deleted.
    pub(crate) uid: String,
    /// Admin address, once the pod has an IP.
    pub(crate) address: Option<String>,
    /// Revision of the template of this pod.
    pub(crate) revision: String,
    /// Readiness according to Kubernetes.
    pub(crate) ready: bool,
    /// The process runs.
    pub(crate) running: bool,
    /// The pod is being deleted.
    pub(crate) terminating: bool,
    /// Start time of the process.
    pub(crate) started: Option<Timestamp>,
    /// Creation time of the pod.
    pub(crate) created: Timestamp,
    /// Obstacle to running, in the words of Kubernetes.
    pub(crate) problem: Option<PodProblem>,
    /// Answer of the node.
    pub(crate) node: NodeObservation,
}

/// Answer of a node in this reconcile.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeObservation {
    /// No answer, with the cause.
    Silent(String),
    /// Status reported by the node.
    Status(Box<NodeStatus>),
}

impl Eq for NodeObservation {}

/// Obstacle to the running of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodProblem {
    /// Reason for the condition.
    pub(crate) reason: Reason,
    /// Affected object, words of Kubernetes, and a remedy.
    pub(crate) message: String,
}

/// Observed EventStore of the Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreObservation {
    /// UID of the object.
    pub(crate) uid: String,
    /// Name of the object.
    pub(crate) name: String,
    /// Desired number of voters.
    pub(crate) replicas: i32,
}

impl PodObservation {
    /// Returns the status of the node, if the node answered.
    pub(crate) fn node_status(&self) -> Option<&NodeStatus> {
        match &self.node {
            NodeObservation::Status(status) => Some(status),
            NodeObservation::Silent(_) => None,
        }
    }

    /// Returns whether the node never held data of any cluster. Before the node has opened its data directory, the
    /// status shows no disk id and proves nothing.
    pub(crate) fn is_blank(&self) -> bool {
        self.node_status().is_some_and(|node| {
            let says_so = node.lifecycle() == Lifecycle::Blank && node.blank && node.cluster_id.is_empty();
            says_so && !node.disk_id.is_empty()
        })
    }

    /// Returns the cluster id on the disk of the node.
    pub(crate) fn cluster_id(&self) -> Option<&str> {
        self.node_status().map(|node| node.cluster_id.as_str()).filter(|id| !id.is_empty())
    }
}

impl Observation {
    /// Returns the current nodes of the catalogue, draining nodes included.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        let all = self.view.iter().flat_map(|view| &view.nodes);
        all.filter(|node| matches!(node_view::state(node), NodeState::Member | NodeState::Draining))
    }

    /// Returns the node of the catalogue with the disk of this pod.
    pub(crate) fn node_of(&self, pod: &PodObservation) -> Option<&NodeView> {
        let disk = pod.node_status().map(|node| node.disk_id.as_str())?;
        self.nodes().find(|node| node.node.as_ref().is_some_and(|n| n.disk_id == disk))
    }

    /// Returns the nodes of the catalogue with this pod name.
    pub(crate) fn nodes_named<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = &'a NodeView> {
        self.nodes().filter(move |node| node.node.as_ref().is_some_and(|n| n.name == pod))
    }

    /// Returns the pod name of a node.
    pub(crate) fn name_of(&self, node_id: u64) -> Option<&str> {
        let nodes = self.view.iter().flat_map(|view| &view.nodes).filter_map(|node| node.node.as_ref());
        nodes.into_iter().find(|node| node.node_id == node_id).map(|node| node.name.as_str())
    }
}
