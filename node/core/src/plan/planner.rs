//! Entry point of the planner: a pass over all rules, in a fixed order.

use super::{
    action::Plan, clocks, departures, divergence, grants, groups, leadership, observation::ClusterObservation, rules,
    settings, storage, system,
};
use crate::catalogue::Catalogue;

/// Computes the next steps from the catalogue and an observation.
///
/// Leadership is balanced only in a pass without any other action, and never while a disruption grant is held.
///
/// At most one membership change per group is in flight at any time:
/// - A group with a joint membership gets no other change than the completion of the joint membership.
/// - Every change names the observed membership, and the leader refuses a change if the membership is a different one.
#[must_use]
pub fn plan(catalogue: &Catalogue, observation: &ClusterObservation) -> Plan {
    let mut plan = Plan::default();
    system::plan(catalogue, observation, &mut plan);
    let pass = groups::Pass::new(catalogue, observation);
    for (id, group) in &catalogue.groups {
        groups::plan(&pass, *id, group, &mut plan);
    }
    groups::forget_removed_stores(catalogue, &mut plan);
    settings::plan(catalogue, observation, &mut plan);
    rules::plan(catalogue, observation, &mut plan);
    departures::plan(catalogue, observation, &mut plan);
    divergence::plan(catalogue, observation, &mut plan);
    grants::plan(catalogue, observation, &mut plan);
    let unfit = clocks::unfit(observation);
    clocks::plan(observation, &unfit, &mut plan);
    let low = storage::low(observation);
    storage::plan(observation, &low, &unfit, &mut plan);
    let unfit = unfit.union(&low).copied().collect();
    if plan.actions.is_empty() && catalogue.live_grant(observation.now_us).is_none() {
        leadership::balance(catalogue, observation, &unfit, &mut plan);
    }
    plan
}
