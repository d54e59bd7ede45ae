//! Disruption grant: the coordinator's permission to take away a single node for a while. Every dependent step requests
//! or renews the grant, and the grant is released as soon as no step depends on it: a grant that is merely kept would
//! hold up everything else.

use super::{action::Action, decision::Plan};
use crate::controllers::cluster::{node_view, observation::Observation};
use std::time::Duration;
use taffrail_proto::admin::Grant;

/// Holder of the grants of the operator. The name outlives the process, so that a restarted operator continues the
/// grant of its predecessor.
pub(crate) const HOLDER: &str = "taffrail-operator";

/// Lifetime of a grant, after which another disruption may begin; a log of any length must be replayed
/// within this time.
pub(crate) const GRANT_TTL: Duration = Duration::from_secs(600);

/// Releases a grant unused by this reconcile once its disruption is over: the pod is back and caught up, the
/// step was cancelled, or the drained pod is gone. The grant of an absent pod is kept until the pod is back or
/// the grant expires.
pub(super) fn give_back(plan: &mut Plan, observation: &Observation) {
    let Some(node_id) = held_node(observation) else { return };
    let used = plan.actions.iter().any(|action| match action {
        Action::Restart { node_id: of, .. } => *of == Some(node_id),
        Action::Drain { node_id: of, .. } => *of == node_id,
        Action::Record { .. }
        | Action::MarkFormed { .. }
        | Action::RecordNodes(_)
        | Action::Bootstrap { .. }
        | Action::Join { .. }
        | Action::Retain { .. }
        | Action::CancelDrain { .. }
        | Action::Replace { .. }
        | Action::DeleteBroken { .. }
        | Action::Release { .. } => false,
    });
    let over = match observation.nodes().find(|node| node_view::id(node) == node_id) {
        Some(node) => {
            let pod = observation.pods.values().find(|pod| pod.name == node_view::name(node));
            node.caught_up && pod.is_some_and(|pod| pod.ready && !pod.terminating)
        }
        // Drained and removed: over once the pod has gone with the StatefulSet.
        None => !plan.shrinks && observation.pods.range(plan.size..).next().is_none(),
    };
    if over && !used {
        plan.actions.push(Action::Release { node_id, pod: name(observation, node_id) });
    }
}

/// Returns the node of the operator's own grant.
pub(super) fn held_node(observation: &Observation) -> Option<u64> {
    grants(observation).find(|grant| grant.holder == HOLDER).map(|grant| grant.node_id)
}

/// Returns the wait of a step on `node_id` while another node, or another holder, has the grant.
pub(super) fn held_elsewhere(observation: &Observation, node_id: Option<u64>) -> Option<String> {
    let other = grants(observation).find(|grant| grant.holder != HOLDER || Some(grant.node_id) != node_id)?;
    Some(format!("the disruption of {} to end", name(observation, other.node_id)))
}

/// Returns the wait before the removal of a pod whose node has left the catalogue. The grant of the drain belongs to
/// the operator and names no member any more; any other grant is a foreign disruption.
pub(super) fn blocks_removal(observation: &Observation) -> Option<String> {
    let other = grants(observation).find(|grant| grant.holder != HOLDER || is_member(observation, grant.node_id))?;
    Some(format!("the disruption of {} to end", name(observation, other.node_id)))
}

fn is_member(observation: &Observation, node_id: u64) -> bool {
    observation.nodes().any(|node| node_view::id(node) == node_id)
}

fn name(observation: &Observation, node_id: u64) -> String {
    observation.name_of(node_id).map_or_else(|| format!("node {node_id}"), str::to_owned)
}

/// Returns the current grants of the view.
fn grants(observation: &Observation) -> impl Iterator<Item = &Grant> {
    observation.view.iter().flat_map(|view| &view.grants)
}
