//! The `EventStore` kind: a replicated store on the nodes of a Cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::Condition;
use crate::names::{ResourceName, StoreId};
use crate::plan::PlanStep;

/// Desired state of an EventStore.
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
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name", description = "Cluster of the store"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".spec.replicas", description = "Desired number of voters"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader", description = "Pod with the leader of the store"),
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
        "metadata.name must be at most 40 characters: a lower-case letter, then lower-case letters, digits and dashes, without a dash at the end"
    ),
    validation = Rule::new("!self.metadata.name.endsWith('-clients') && !self.metadata.name.endsWith('-peers') && !self.metadata.name.endsWith('-ready')")
        .message("metadata.name must not end in -clients, -peers or -ready: these endings belong to the Services of a Cluster")
)]
#[x_kube(
    // The rule is on the struct: a rule on an optional field does not run when the field is removed.
    validation = Rule::new("!has(oldSelf.storeId) || (has(self.storeId) && self.storeId == oldSelf.storeId)")
        .message("storeId is immutable once set")
)]
#[serde(rename_all = "camelCase")]
pub struct EventStoreSpec {
    /// Cluster that holds the store, in the same namespace.
    pub cluster_ref: ClusterReference,
    /// Number of voting replicas: 1, 3, 5 or 7. The store is not created while the Cluster has fewer nodes.
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message("replicas must be 1, 3, 5 or 7"))]
    pub replicas: i32,
    /// Identity of a retained store to take over, with all events. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// Service through which clients reach the store.
    #[serde(default)]
    pub service: StoreService,
    /// Fate of the events when this object is deleted: Retain keeps the events, Delete removes the events for good.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Reference by name to a Cluster in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReference {
    /// Name of the Cluster. Immutable: a store cannot move to another Cluster.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef is immutable"))]
    pub name: ResourceName,
}

/// Service through which clients reach the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StoreService {
    /// Type of the Service: ExternalName is a DNS alias of the Cluster's client Service, ClusterIP has an address of
    /// its own, None creates no Service.
    #[serde(rename = "type")]
    pub type_: ServiceType,
}

/// Type of a store's Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// A DNS alias of the Cluster's client Service.
    #[default]
    ExternalName,
    /// A Service with an address of its own.
    ClusterIP,
    /// No Service is created.
    None,
}

/// Fate of the events when the EventStore is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The events are kept; another EventStore can take the store over by its id.
    #[default]
    Retain,
    /// The events are removed for good.
    Delete,
}

/// Observed state of a store, written by the operator. Every field is optional on the wire: a person may empty the
/// status, and the operator then writes the status again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventStoreStatus {
    /// Generation of the EventStore that the status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Identity of the store inside its Cluster; the identity outlives this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<StoreId>,
    /// Pod with the leader of the store; refreshed at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub leader: Option<String>,
    /// Term of the leader; refreshed at most once a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub term: Option<i64>,
    /// Pods with a voting replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub voters: Vec<String>,
    /// Pods with a replica without a vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub learners: Vec<String>,
    /// Address for clients inside Kubernetes, with port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 280))]
    pub endpoint: Option<String>,
    /// Next steps of the operator, and the reason why a step waits; at most five steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub plan: Vec<PlanStep>,
    /// Conditions of the store. Stable is True once the store matches its spec and no change is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
