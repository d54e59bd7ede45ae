//! Observed state of a Cluster. Every field is optional on the wire: a person may empty the status, and the operator
//! then writes the status again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::names::{ClusterId, DiskId, ResourceName, StoreId};
use crate::plan::PlanStep;

/// Observed state of a Cluster, written by the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Generation of the Cluster that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Identity of the Cluster's data, generated once at bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Number of existing pods.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub replicas: i32,
    /// Number of ready pods.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub ready_replicas: i32,
    /// Ready pods and desired pods, such as 2/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub ready: Option<String>,
    /// Label selector of the pods as a string, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Lowest version that a node reports; during a rollout, the older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// Version of the template of the pods. An upgrade of the operator keeps the version, and so restarts no pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub template_version: Option<i32>,
    /// Number of stores, without retained stores.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub stores: i32,
    /// Nodes of the Cluster, by pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<Member>,
    /// Stores whose EventStore was deleted and whose events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_stores: Option<RetainedStores>,
    /// Next steps of the operator, and the reason why a step waits; at most five steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub plan: Vec<PlanStep>,
    /// Conditions of the Cluster. Stable is True once the Cluster matches its spec and no change is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Node of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name of the pod.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Identity of the pod's data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<DiskId>,
    /// Id that the Cluster gave to the disk; never reused, and independent of the number in the pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub node_id: Option<i64>,
    /// Role in the system group; absent while the node is not a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// Address under which peers reach the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Number of groups with a replica on the node.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub groups: i32,
    /// Number of groups whose leader is on the node.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub leaders: i32,
}

/// Role of a node in the system group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// The node votes.
    Voter,
    /// The node follows without a vote.
    Learner,
    /// The coordinator moves the replicas of the node to other nodes.
    Draining,
    /// The node keeps its data and takes no part.
    Fenced,
}

/// Stores whose EventStore was deleted and whose events are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedStores {
    /// Number of retained stores.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// The newest retained stores, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["storeId".into()]))]
    pub newest: Vec<RetainedStore>,
}

/// Store whose EventStore was deleted and whose events are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedStore {
    /// Identity of the store; an EventStore with this storeId takes the store over.
    pub store_id: StoreId,
    /// Namespace of the deleted EventStore.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the deleted EventStore.
    pub name: ResourceName,
    /// Number of events, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub events: Option<i64>,
    /// Time of the retention, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_at: Option<Time>,
}
