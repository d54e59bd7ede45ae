//! The small, typed part of a pod template that users may set. The whole `PodTemplateSpec` would make the schema larger
//! than `kubectl apply` can annotate, and would let users break what the operator relies on.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Additions to the node pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels added to the pods. Keys of app.kubernetes.io and taffrail.io belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_map")]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('taffrail.io/'))")
        .message("labels of app.kubernetes.io/ and taffrail.io/ are set by the operator"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pods. Keys of taffrail.io belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotation_map")]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('taffrail.io/'))")
        .message("annotations of taffrail.io/ are set by the operator"))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a Kubernetes node must have to run a pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of Kubernetes nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets with credentials for the image registry, in the Cluster's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Annotations of the pods' ServiceAccount, for example for workload identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotation_map")]
    pub service_account_annotations: BTreeMap<String, String>,
    /// User and group that the pods run as; never root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurity>,
    /// Environment variables of the node process. Names starting with TAFFRAIL_ belong to the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// How long a pod may take to stop, in seconds: leaders are handed over and calls drained within it.
    #[schemars(range(min = 30, max = 3600))]
    #[serde(default = "default_termination_grace_period_seconds")]
    pub termination_grace_period_seconds: i64,
}

impl Default for PodTemplate {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
            image_pull_secrets: Vec::new(),
            service_account_annotations: BTreeMap::new(),
            security_context: None,
            env: Vec::new(),
            termination_grace_period_seconds: default_termination_grace_period_seconds(),
        }
    }
}

fn default_termination_grace_period_seconds() -> i64 {
    120
}

/// A taint that is tolerated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.key) || self.operator == 'Exists'")
        .message("a toleration without a key needs operator Exists"),
    validation = Rule::new("self.operator != 'Exists' || !has(self.value)")
        .message("a toleration with operator Exists has no value"),
    validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')")
        .message("tolerationSeconds needs effect NoExecute")
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; all keys if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 316))]
    pub key: Option<String>,
    /// Equal compares the value, Exists does not.
    #[serde(default)]
    pub operator: TolerationOperator,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint; all effects if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a NoExecute taint is tolerated, in seconds; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// Key and value are the same.
    #[default]
    Equal,
    /// The key is there.
    Exists,
}

/// Effect of a taint; a toleration without it tolerates all effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// No new pods if avoidable.
    PreferNoSchedule,
    /// No pods at all.
    NoExecute,
}

/// The name of an object in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// User and group that the pods run as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurity {
    /// User id of the node process; that of the image if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Group id that owns the volume; that of the image if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!self.name.startsWith('TAFFRAIL_')")
        .message("environment variables named TAFFRAIL_* are set by the operator; use spec.settings")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Value of the variable.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub value: String,
}

fn label_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    string_map(63)
}

fn annotation_map(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    string_map(4096)
}

/// Labels, annotations and selectors are maps by nature; a bound on both sides keeps rules over them cheap.
fn string_map(value_length_max: u32) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": value_length_max},
    })
}
