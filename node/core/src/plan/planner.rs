//! One pass of the planner, rule by rule.

use super::{
    action::Plan, departures, divergence, grants, groups, leadership, observation::ClusterObservation, system,
};
use crate::catalogue::Catalogue;

/// Decides the next steps from the catalogue and an observation.
///
/// At most one membership change per group is ever in flight: a group whose membership is joint, or whose last change
/// was not observed yet, gets none.
#[must_use]
pub fn plan(catalogue: &Catalogue, observation: &ClusterObservation) -> Plan {
    let mut plan = Plan::default();
    system::plan(catalogue, observation, &mut plan);
    for (id, group) in &catalogue.groups {
        groups::plan(catalogue, observation, *id, group, &mut plan);
    }
    groups::forget_removed_stores(catalogue, &mut plan);
    departures::plan(catalogue, observation, &mut plan);
    divergence::plan(catalogue, observation, &mut plan);
    grants::plan(catalogue, observation, &mut plan);
    if plan.actions.is_empty() && catalogue.live_grant(observation.now_us).is_none() {
        leadership::balance(catalogue, observation, &mut plan);
    }
    plan
}
