//! `status.plan`: the next steps of the operator, and the reasons why steps wait.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum number of steps in a status.
pub const STEPS_MAX: usize = 5;

/// Action of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Step {
    /// Create or correct a Kubernetes object.
    ApplyObject,
    /// Wait until pods run and report.
    WaitForPods,
    /// Form the Cluster from blank volumes.
    Bootstrap,
    /// Take over volumes that already have this Cluster's identity.
    AdoptVolumes,
    /// Add a node to the Cluster.
    AddNode,
    /// Move all replicas and leaders off a node.
    DrainNode,
    /// Remove the pod of a drained node.
    RemoveNode,
    /// Restart a pod with a new template.
    RestartPod,
    /// Replace a lost node by a new node.
    ReplaceNode,
    /// Declare a store to the Cluster.
    DeclareStore,
    /// Add a replica to a store and wait until the replica has caught up.
    AddReplica,
    /// Remove a replica from a store.
    RemoveReplica,
    /// Close a store and keep its events.
    RetainStore,
    /// Delete a store and its events.
    DeleteStore,
}

/// Step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// Action of the step.
    pub step: Step,
    /// Pod, store or object that the step changes.
    #[schemars(length(max = 253))]
    pub target: String,
    /// Cause of the wait; absent while the step is being carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub waiting_for: Option<String>,
    /// Time of the first plan with this step for this target.
    pub since: Time,
}

impl PlanStep {
    /// Creates a step that starts now, with strings truncated to the lengths of the schema.
    pub fn new(step: Step, target: &str, waiting_for: Option<&str>, now: Timestamp) -> Self {
        Self {
            step,
            target: target.chars().take(253).collect(),
            waiting_for: waiting_for.map(|text| text.chars().take(1024).collect()),
            since: Time(crate::conditions::whole_seconds(now)),
        }
    }
}

/// Returns the plan to write, at most [`STEPS_MAX`] steps. `since` is kept for a step that was already planned.
pub fn merge(old: &[PlanStep], new: Vec<PlanStep>) -> Vec<PlanStep> {
    new.into_iter()
        .take(STEPS_MAX)
        .map(|mut step| {
            if let Some(before) = old.iter().find(|o| o.step == step.step && o.target == step.target) {
                step.since = before.since.clone();
            }
            step
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    #[test]
    fn a_step_that_stays_keeps_its_start() {
        let old = vec![PlanStep::new(Step::DrainNode, "main-2", Some("orders"), at(10))];
        let new = vec![
            PlanStep::new(Step::DrainNode, "main-2", None, at(20)),
            PlanStep::new(Step::RemoveNode, "main-2", None, at(20)),
        ];
        let merged = merge(&old, new);
        assert_eq!(merged[0].since.0, at(10));
        assert_eq!(merged[1].since.0, at(20));
    }

    #[test]
    fn a_plan_is_bounded() {
        let steps = (0..9).map(|n| PlanStep::new(Step::AddNode, &format!("main-{n}"), None, at(1))).collect();
        assert_eq!(merge(&[], steps).len(), STEPS_MAX);
        let long = PlanStep::new(Step::AddNode, &"x".repeat(999), Some(&"y".repeat(9999)), at(1));
        assert_eq!((long.target.len(), long.waiting_for.map(|w| w.len())), (253, Some(1024)));
    }
}
