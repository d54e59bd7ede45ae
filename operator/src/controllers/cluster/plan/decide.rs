//! Entry of the planner: chooses between forming a Cluster, changing a formed Cluster, and a pause.

use super::{bootstrap, decision::Plan, formed};
use crate::controllers::cluster::observation::{Observation, Recorded, Wish};
use k8s_openapi::jiff::Timestamp;

/// Phrase for the wait of every step of a paused Cluster.
const PAUSED: &str = "spec.paused to be set to false";

/// Decides about a Cluster, formed or not, paused or not.
pub(crate) fn plan(wish: &Wish, observation: &Observation, now: Timestamp) -> Plan {
    let mut plan = match &observation.recorded {
        Recorded::Identity(identity) if identity.formed || bootstrap::is_formed(identity, observation) => {
            formed::plan(wish, observation, identity, now)
        }
        recorded @ (Recorded::Nowhere | Recorded::Identity(_) | Recorded::Annotations(_) | Recorded::Conflict(..)) => {
            bootstrap::plan(wish, observation, recorded)
        }
    };
    if wish.paused {
        pause(&mut plan, observation);
    }
    plan
}

/// Clears all actions and changes; the steps still show the plan.
fn pause(plan: &mut Plan, observation: &Observation) {
    plan.actions.clear();
    plan.shrinks = false;
    plan.size = observation.set.as_ref().map_or(plan.size, |set| set.replicas);
    plan.changing = None;
    for step in &mut plan.steps {
        step.waiting_for.get_or_insert_with(|| PAUSED.to_owned());
    }
}
