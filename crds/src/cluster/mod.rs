//! The `Cluster` kind: nodes with their storage, and the scale subresource.

mod pod_template;
mod resources;
mod status;
mod storage;

pub use pod_template::{
    EnvVar, LocalObjectReference, PodSecurity, PodTemplate, TaintEffect, Toleration, TolerationOperator,
};
pub use resources::{ComputeAmounts, ComputeResources};
pub use status::{ClusterStatus, Member, MemberRole, RetainedStore, RetainedStores};
pub use storage::Storage;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ResourceName;
use taffrail_core::limits::{BATCH_BYTES_MAX, EVENT_BYTES_MAX};

/// Desired state of a Cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "taffrail.io",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    shortname = "tfc",
    category = "taffrail",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "A set of Taffrail nodes with common settings for storage, version and gateway. The nodes hold the EventStores of the Cluster.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready", description = "Ready pods and desired pods"),
    printcolumn(name = "Stores", type_ = "integer", json_path = ".status.stores", description = "Number of stores"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", description = "Version of the nodes"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Stable")].reason"#,
        description = "Reason of the Stable condition"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')").message(
        "metadata.name must be at most 40 characters: a lower-case letter, then lower-case letters, digits and dashes, without a dash at the end"
    )
)]
#[x_kube(
    validation = Rule::new("!(has(self.version) && has(self.image))")
        .message("version and image exclude each other: image already contains the version; set only one of the two"),
    validation = Rule::new("self.settings.drainDelaySeconds + 20 <= self.podTemplate.terminationGracePeriodSeconds")
        .message("podTemplate.terminationGracePeriodSeconds must exceed settings.drainDelaySeconds by 20 seconds or more")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Number of nodes, 1 to 99. Has no default: a line lost from a manifest must not shrink the Cluster.
    #[schemars(range(min = 1, max = 99))]
    pub replicas: i32,
    /// Version of the nodes, as a tag of the operator's node image. Without version and image, the Cluster keeps the
    /// version from its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"))]
    pub version: Option<String>,
    /// Full reference of the node image; excludes version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,
    /// Volume of each node.
    pub storage: Storage,
    /// CPU and memory of each node. Each node derives memory budgets from the memory limit, if set.
    #[serde(default, skip_serializing_if = "ComputeResources::is_empty")]
    pub resources: ComputeResources,
    /// Limits and delays of the nodes.
    #[serde(default)]
    pub settings: Settings,
    /// Placement of the pods on Kubernetes nodes.
    #[serde(default)]
    pub placement: Placement,
    /// Addresses under which clients reach stores.
    #[serde(default, skip_serializing_if = "Gateway::is_empty")]
    pub gateway: Gateway,
    /// Store, in the Cluster's namespace, of calls that name no store, such as calls to an IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_store: Option<ResourceName>,
    /// While true, the operator observes and reports, and changes nothing.
    #[serde(default)]
    pub paused: bool,
    /// Additions to the node pods.
    #[serde(default)]
    pub pod_template: PodTemplate,
}

/// Limits and delays of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.eventBytesMax <= self.batchBytesMax")
        .message("batchBytesMax must be at least eventBytesMax")
)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Maximum size of an event, data and metadata together, in bytes.
    #[schemars(range(min = 1024, max = EVENT_BYTES_MAX))]
    #[serde(default = "default_event_bytes_max")]
    pub event_bytes_max: i64,
    /// Maximum size of an append, all events together, in bytes.
    #[schemars(range(min = 1024, max = BATCH_BYTES_MAX))]
    #[serde(default = "default_batch_bytes_max")]
    pub batch_bytes_max: i64,
    /// Time, in seconds, for a stopping node to keep accepting calls, because proxies and DNS react late.
    #[schemars(range(min = 0, max = 60))]
    #[serde(default = "default_drain_delay_seconds")]
    pub drain_delay_seconds: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            event_bytes_max: default_event_bytes_max(),
            batch_bytes_max: default_batch_bytes_max(),
            drain_delay_seconds: default_drain_delay_seconds(),
        }
    }
}

fn default_event_bytes_max() -> i64 {
    1 << 20
}

fn default_batch_bytes_max() -> i64 {
    16 << 20
}

fn default_drain_delay_seconds() -> i32 {
    5
}

/// Placement of the pods on Kubernetes nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Anti-affinity between nodes: Preferred avoids two nodes on a host, Required forbids two nodes on a host.
    pub anti_affinity: AntiAffinity,
}

/// Anti-affinity between nodes of a Cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// Avoids two nodes on a host while another host has room.
    #[default]
    Preferred,
    /// Forbids two nodes on a host; a pod without a free host stays pending.
    Required,
}

/// Addresses under which clients reach stores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// DNS domains for addresses of the form STORE.DOMAIN, besides the names of Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(max = 253),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub domains: Vec<String>,
}

impl Gateway {
    /// Returns true if no field is set.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }
}
