//! What the operator found about a Cluster. Every field is optional on the wire: a status may be emptied by hand, and is
//! then written anew.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::names::{ClusterId, DiskId, ResourceName, StoreId};
use crate::plan::PlanStep;

/// What the operator found about a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Generation of the object that this status was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Identity of the Cluster's data, minted once at bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Number of pods that exist.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub replicas: i32,
    /// Number of pods that are ready.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub ready_replicas: i32,
    /// Ready pods of the pods asked for, such as 2/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub ready: Option<String>,
    /// Label selector of the pods, as text, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Version of the nodes; of the older ones while a change is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// Version of the template that the pods are rendered from. An upgrade of the operator leaves it, and so the pods,
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub template_version: Option<i32>,
    /// Number of stores, retained ones not counted.
    #[schemars(range(min = 0))]
    #[serde(default)]
    pub stores: i32,
    /// The nodes, by pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub members: Vec<Member>,
    /// Stores whose EventStore is gone and whose events are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_stores: Option<RetainedStores>,
    /// What the operator will do next, and why not yet; at most five steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub plan: Vec<PlanStep>,
    /// The state by aspect. Wait for Stable to know that all is as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One node of the Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name of the pod.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Identity of the pod's data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<DiskId>,
    /// Id that the Cluster gave to this disk; never reused, and not the number in the pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub node_id: Option<i64>,
    /// Role in the system group; absent while the node is not a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
    /// Address at which its peers reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Number of groups that have a replica here.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub groups: i32,
    /// Number of groups that are led from here.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub leaders: i32,
}

/// Role of a node in the system group; absent while it is not a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// It votes.
    Voter,
    /// It follows without a vote.
    Learner,
    /// Its replicas are being moved away.
    Draining,
    /// It keeps its data and takes no part.
    Fenced,
}

/// Stores whose EventStore is gone and whose events are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedStores {
    /// How many there are.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// The newest of them, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["storeId".into()]))]
    pub newest: Vec<RetainedStore>,
}

/// A store whose EventStore is gone and whose events are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedStore {
    /// Identity of the store; an EventStore with this storeId takes it over.
    pub store_id: StoreId,
    /// Namespace of the EventStore that it belonged to.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the EventStore that it belonged to.
    pub name: ResourceName,
    /// Number of events, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub events: Option<i64>,
    /// When it was retained, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_at: Option<Time>,
}
