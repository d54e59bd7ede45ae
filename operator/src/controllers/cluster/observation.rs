//! What a pass saw of a Cluster: plain data, so that the planner is a function of it.

use super::node_view;
use crate::resources::{identity::Identity, names};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use taffrail_crds::Reason;
use taffrail_proto::{
    admin::{ClusterView, Lifecycle, NodeStatus, NodeView},
    v1::NodeState,
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Name of the Cluster.
    pub(crate) name: String,
    /// Number of nodes.
    pub(crate) replicas: i32,
    /// Observe only.
    pub(crate) paused: bool,
    /// The Cluster is being deleted.
    pub(crate) deleting: bool,
}

impl Wish {
    /// The pod of an ordinal.
    pub(crate) fn pod(&self, ordinal: i32) -> String {
        names::pod(&self.name, ordinal)
    }
}

/// Everything that a pass saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// Where the identity of the data is recorded.
    pub(crate) recorded: Recorded,
    /// The StatefulSet, if there is one.
    pub(crate) set: Option<SetObservation>,
    /// The pods by ordinal.
    pub(crate) pods: BTreeMap<i32, PodObservation>,
    /// Why Kubernetes creates no pods, where it says so.
    pub(crate) creation: Option<PodProblem>,
    /// The cluster as the coordinator sees it, read in this pass; none when no member answers.
    pub(crate) view: Option<ClusterView>,
    /// Why there is no view.
    pub(crate) view_error: Option<String>,
    /// The EventStores of this Cluster.
    pub(crate) stores: Vec<StoreObservation>,
}

/// Where the identity of the data is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// Nowhere: nothing was ever formed here.
    #[default]
    Nowhere,
    /// In the identity ConfigMap, as it should be.
    Identity(Identity),
    /// Only in annotations of StatefulSet and volumes: the ConfigMap is lost.
    Annotations(String),
    /// Several identities (`ForeignVolumes`), or a ConfigMap of that name that is not ours (`NameTaken`).
    Conflict(Reason, String),
}

/// The StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetObservation {
    /// Pods that it is told to have.
    pub(crate) replicas: i32,
    /// Revision of its current template, once Kubernetes has computed it for the newest generation.
    pub(crate) revision: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodObservation {
    /// Name.
    pub(crate) name: String,
    /// UID, so that only this very pod is ever deleted.
    pub(crate) uid: String,
    /// Admin address, once it has an IP.
    pub(crate) address: Option<String>,
    /// Revision of the template that it was made from.
    pub(crate) revision: String,
    /// Ready as Kubernetes sees it.
    pub(crate) ready: bool,
    /// The process runs.
    pub(crate) running: bool,
    /// Being deleted.
    pub(crate) terminating: bool,
    /// When the process started.
    pub(crate) started: Option<Timestamp>,
    /// When the pod was made.
    pub(crate) created: Timestamp,
    /// What keeps it from running, in the words of Kubernetes.
    pub(crate) problem: Option<PodProblem>,
    /// What the node said.
    pub(crate) node: NodeObservation,
}

/// What a node said in this pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeObservation {
    /// It did not answer, and why.
    Silent(String),
    /// Its status.
    Status(Box<NodeStatus>),
}

impl Eq for NodeObservation {}

/// Something that keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodProblem {
    /// Reason of the condition.
    pub(crate) reason: Reason,
    /// What it is about, and the words of Kubernetes, with a remedy.
    pub(crate) message: String,
}

/// An EventStore of the Cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreObservation {
    /// UID of the object.
    pub(crate) uid: String,
    /// Its name.
    pub(crate) name: String,
    /// Voters asked for.
    pub(crate) replicas: i32,
}

impl PodObservation {
    /// What the node said, if it said anything.
    pub(crate) fn node_status(&self) -> Option<&NodeStatus> {
        match &self.node {
            NodeObservation::Status(status) => Some(status),
            NodeObservation::Silent(_) => None,
        }
    }

    /// The node has never held data of any cluster. Before its data directory is open it shows no disk, and says nothing.
    pub(crate) fn is_blank(&self) -> bool {
        self.node_status().is_some_and(|node| {
            let says_so = node.lifecycle() == Lifecycle::Blank && node.blank && node.cluster_id.is_empty();
            says_so && !node.disk_id.is_empty()
        })
    }

    /// The cluster that the node's disk belongs to.
    pub(crate) fn cluster_id(&self) -> Option<&str> {
        self.node_status().map(|node| node.cluster_id.as_str()).filter(|id| !id.is_empty())
    }
}

impl Observation {
    /// Nodes of the catalogue that are of the cluster now, draining ones included.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        let all = self.view.iter().flat_map(|view| &view.nodes);
        all.filter(|node| matches!(node_view::state(node), NodeState::Member | NodeState::Draining))
    }

    /// The node of the catalogue whose disk this pod has.
    pub(crate) fn node_of(&self, pod: &PodObservation) -> Option<&NodeView> {
        let disk = pod.node_status().map(|node| node.disk_id.as_str())?;
        self.nodes().find(|node| node.node.as_ref().is_some_and(|n| n.disk_id == disk))
    }

    /// Nodes of the catalogue under this pod name.
    pub(crate) fn nodes_named<'a>(&'a self, pod: &'a str) -> impl Iterator<Item = &'a NodeView> {
        self.nodes().filter(move |node| node.node.as_ref().is_some_and(|n| n.name == pod))
    }

    /// The pod name of a node.
    pub(crate) fn name_of(&self, node_id: u64) -> Option<&str> {
        let nodes = self.view.iter().flat_map(|view| &view.nodes).filter_map(|node| node.node.as_ref());
        nodes.into_iter().find(|node| node.node_id == node_id).map(|node| node.name.as_str())
    }
}
