//! The `EventStore` kind: one replicated store on the nodes of a Cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::names::{ResourceName, StoreId};
use crate::plan::PlanStep;

/// What is asked for.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "taffrail.io",
    version = "v1alpha1",
    kind = "EventStore",
    plural = "eventstores",
    shortname = "evs",
    category = "taffrail",
    namespaced,
    status = "EventStoreStatus",
    derive = "PartialEq",
    doc = "A replicated store of events on the nodes of a Cluster, with a Service of its own name.",
    selectable = ".spec.clusterRef.name",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", description = "The store's Cluster"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas", description = "Voters asked for"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader", description = "Pod that leads the store"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Stable")].reason"#,
        description = "Reason of the Stable condition"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.term", priority = 1),
    printcolumn(name = "Voters", type_ = "string", json_path = ".status.voters", priority = 1),
    printcolumn(name = "Learners", type_ = "string", json_path = ".status.learners", priority = 1),
    printcolumn(name = "Store ID", type_ = "string", json_path = ".status.storeId", priority = 1),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')").message(
        "metadata.name must be at most 40 characters: a lower-case letter, then letters, digits and dashes, with no dash at the end"
    ),
    validation = Rule::new("!self.metadata.name.endsWith('-clients') && !self.metadata.name.endsWith('-peers') && !self.metadata.name.endsWith('-ready')")
        .message("metadata.name must not end in -clients, -peers or -ready: the Services of a Cluster are named so")
)]
#[x_kube(
    // On the struct, not on the field: a rule on an optional field does not run when the field goes.
    validation = Rule::new("!has(oldSelf.storeId) || (has(self.storeId) && self.storeId == oldSelf.storeId)")
        .message("storeId is immutable once set")
)]
#[serde(rename_all = "camelCase")]
pub struct EventStoreSpec {
    /// The Cluster that holds the store, in the same namespace.
    pub cluster_ref: ClusterReference,
    /// Number of voting copies: 1, 3, 5 or 7. It is a promise: with fewer nodes than that the store is not created.
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message("replicas must be 1, 3, 5 or 7"))]
    pub replicas: i32,
    /// Identity of a retained store to take over, with all its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// The Service through which clients reach the store.
    #[serde(default)]
    pub service: StoreService,
    /// What happens to the events when this object is deleted: Retain keeps them, Delete removes them for good.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// The name of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReference {
    /// Name of the Cluster. A store cannot move to another one.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef is immutable"))]
    pub name: ResourceName,
}

/// The Service through which clients reach the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StoreService {
    /// ExternalName points at the Cluster's client Service and costs nothing; ClusterIP has an address of its own; None
    /// makes no Service.
    #[serde(rename = "type")]
    pub type_: ServiceType,
}

/// Kinds of Service that a store can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// A name that leads to the Cluster's client Service.
    #[default]
    ExternalName,
    /// A Service with an address of its own.
    ClusterIP,
    /// No Service.
    None,
}

/// What happens to the events when the EventStore is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are kept, and can be taken over by their store id.
    #[default]
    Retain,
    /// They are removed for good.
    Delete,
}

/// What the operator found about a store. Every field is optional on the wire: a status may be emptied by hand, and is
/// then written anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventStoreStatus {
    /// Generation of the object that this status was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Identity of the store inside its Cluster; it outlives this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// Pod that leads the store; refreshed at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub leader: Option<String>,
    /// Term of the leader; refreshed at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub term: Option<i64>,
    /// Pods that hold a voting copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub voters: Vec<String>,
    /// Pods that hold a copy without a vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub learners: Vec<String>,
    /// Address for clients inside Kubernetes, with port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 280))]
    pub endpoint: Option<String>,
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
