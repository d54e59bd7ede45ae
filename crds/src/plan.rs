//! `status.plan`: what the operator will do next, and why not yet.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most steps that a status shows.
pub const STEPS_MAX: usize = 5;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Step {
    /// Create or correct a Kubernetes object.
    ApplyObject,
    /// Wait until pods run and report.
    WaitForPods,
    /// Form the Cluster from blank volumes.
    Bootstrap,
    /// Take over volumes that already carry this Cluster's identity.
    AdoptVolumes,
    /// Add a node.
    AddNode,
    /// Move all replicas and leaders off a node.
    DrainNode,
    /// Take a drained node's pod away.
    RemoveNode,
    /// Restart a pod with a new template.
    RestartPod,
    /// Put a new node in the place of a lost one.
    ReplaceNode,
    /// Tell the Cluster about a store.
    DeclareStore,
    /// Add a replica to a store and let it catch up.
    AddReplica,
    /// Remove a replica from a store.
    RemoveReplica,
    /// Close a store and keep its events.
    RetainStore,
    /// Delete a store and its events.
    DeleteStore,
}

/// One step of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// What will be done.
    pub step: Step,
    /// The pod, store or object that it is done to.
    #[schemars(length(max = 253))]
    pub target: String,
    /// What it waits for; absent while it is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub waiting_for: Option<String>,
    /// Since when this step is the plan for this target.
    pub since: Time,
}

impl PlanStep {
    /// A step that starts now, with texts cut to what the schema allows.
    pub fn new(step: Step, target: &str, waiting_for: Option<&str>, now: Timestamp) -> Self {
        Self {
            step,
            target: target.chars().take(253).collect(),
            waiting_for: waiting_for.map(|text| text.chars().take(1024).collect()),
            since: Time(crate::conditions::whole_seconds(now)),
        }
    }
}

/// The plan to write: at most [`STEPS_MAX`] steps, where a step that was already planned for its target keeps `since`.
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
