//! Wire form of a condition, with the limits of `metav1.Condition` that the type in `k8s_openapi` lacks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum length of a written message, in characters. The API server allows 32,768, but a status must stay readable.
pub const MESSAGE_LENGTH_MAX: usize = 2048;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The operator could not determine the status.
    Unknown,
}

impl ConditionStatus {
    /// Returns `True` if the condition holds, else `False`.
    pub fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

// `type` and `reason` are strings, because another version of the operator may have written the condition. This version
// writes only names of the enums in this module.
/// One aspect of the observed state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition, such as Ready or Stable.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub type_: String,
    /// True if the condition holds, False if not, Unknown if the operator could not determine the status.
    pub status: ConditionStatus,
    /// Generation of the object that the condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Time of the last change of the status.
    pub last_transition_time: Time,
    /// Reason for the status, as one word from the documented list of reasons.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Explanation for a person: the cause and the object concerned, and a remedy where a remedy exists.
    #[schemars(length(max = 32768))]
    pub message: String,
}
