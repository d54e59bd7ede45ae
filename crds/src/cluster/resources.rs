//! CPU and memory of a node.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// CPU and memory of each node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "!has(self.requests) || !has(self.limits) || !has(self.requests.memory) || !has(self.limits.memory) || quantity(self.requests.memory).compareTo(quantity(self.limits.memory)) <= 0"
    )
    .message("resources.requests.memory must not exceed resources.limits.memory"),
    validation = Rule::new(
        "!has(self.requests) || !has(self.limits) || !has(self.requests.cpu) || !has(self.limits.cpu) || quantity(self.requests.cpu).compareTo(quantity(self.limits.cpu)) <= 0"
    )
    .message("resources.requests.cpu must not exceed resources.limits.cpu")
)]
#[serde(rename_all = "camelCase")]
pub struct ComputeResources {
    /// CPU and memory reserved for each node by the scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ComputeAmounts>,
    /// Upper limits of CPU and memory for each node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ComputeAmounts>,
}

impl ComputeResources {
    /// Returns true if neither requests nor limits are set.
    pub fn is_empty(&self) -> bool {
        self.requests.is_none() && self.limits.is_none()
    }
}

/// Amounts of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComputeAmounts {
    /// CPU, such as 500m or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, such as 2Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}
