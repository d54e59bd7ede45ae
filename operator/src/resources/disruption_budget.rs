//! Disruption budget of the node pods, fixed at a single unavailable pod. Below three nodes there is no budget, because
//! a budget would only make `kubectl drain` hang.

use super::{labels, names, render_target::RenderTarget};
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// Minimum number of nodes for a budget.
pub(crate) const NODES_MIN: i32 = 3;

/// Builds the budget; `None` below three nodes.
pub fn render(target: RenderTarget<'_>, nodes: i32) -> Option<PodDisruptionBudget> {
    (nodes >= NODES_MIN).then(|| PodDisruptionBudget {
        metadata: target.meta(names::set(target.name())),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labels::selector(target.name())),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}
