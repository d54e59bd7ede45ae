//! Entry points of the planner: a pass over all rules in a fixed order, and [`Planner`], whose passes leave settled groups out.

use super::{
    action::Plan, clocks, departures, divergence, grants, groups, leadership, observation::ClusterObservation, rules,
    settings, storage, system,
};
use crate::{
    catalogue::{Catalogue, Group, ReplicaState},
    ids::{GroupId, NodeId},
};
use std::collections::BTreeSet;

/// Number of passes after which a [`Planner`] plans all groups again, a safety net.
const FULL_EVERY: u32 = 100;

/// Computes the next steps from the catalogue and an observation.
///
/// Leadership is balanced only in a pass without any other action, and never while a disruption grant is held.
///
/// At most one membership change per group is in flight at any time:
/// - A group with a joint membership gets no other change than the completion of the joint membership.
/// - Every change names the observed membership, and the leader refuses a change if the membership is a different one.
#[must_use]
pub fn plan(catalogue: &Catalogue, observation: &ClusterObservation) -> Plan {
    pass(catalogue, observation, &BTreeSet::new()).0
}

/// Plans all groups but the groups in `skipped`. Returns the plan, and the store groups of which the plan says something.
fn pass(c: &Catalogue, o: &ClusterObservation, skipped: &BTreeSet<GroupId>) -> (Plan, BTreeSet<GroupId>) {
    let (mut plan, mut busy) = (Plan::default(), BTreeSet::new());
    let due = || c.groups.iter().filter(|(id, _)| !skipped.contains(id));
    system::plan(c, o, &mut plan);
    if due().next().is_some() {
        let common = groups::Pass::new(c, o);
        each(due(), &mut plan, &mut busy, |id, group, plan| groups::plan(&common, id, group, plan));
    }
    groups::forget_removed_stores(c, &mut plan);
    each(due(), &mut plan, &mut busy, |id, group, plan| settings::plan(c, o, id, group, plan));
    rules::decide(c, o, &mut plan);
    each(due(), &mut plan, &mut busy, |id, group, plan| rules::plan(c, o, id, group, plan));
    departures::plan(c, o, &mut plan);
    divergence::plan(c, o, skipped, &mut busy, &mut plan);
    grants::plan(c, o, &mut plan);
    let unfit = clocks::unfit(o);
    clocks::plan(o, &unfit, &mut plan);
    let low = storage::low(o);
    storage::plan(o, &low, &unfit, &mut plan);
    if plan.actions.is_empty() && c.live_grant(o.now_us).is_none() {
        let unfit = unfit.union(&low).copied().collect();
        leadership::balance(c, o, &unfit, &mut plan);
    }
    (plan, busy)
}

/// Applies a rule to groups, and adds the groups of which the rule says something to `busy`.
fn each<'a>(
    groups: impl Iterator<Item = (&'a GroupId, &'a Group)>,
    plan: &mut Plan,
    busy: &mut BTreeSet<GroupId>,
    mut rule: impl FnMut(GroupId, &Group, &mut Plan),
) {
    for (id, group) in groups {
        let before = plan.len();
        rule(*id, group, plan);
        if plan.len() > before {
            busy.insert(*id);
        }
    }
}

/// A planner that leaves settled groups out: groups of which a pass said nothing, and whose reports and catalogue have not
/// changed since. The plan is the same as the plan of [`plan`], at a cost that depends on the number of changed groups.
///
/// The rules of a settled group depend on the time only while a node does not answer, so a planner leaves no group out then.
#[derive(Debug, Default)]
pub struct Planner {
    settled: BTreeSet<GroupId>,
    /// Version of the catalogue and answering nodes of the pass before; `None` before the first pass.
    basis: Option<(u64, BTreeSet<NodeId>)>,
    /// Passes since all groups were planned.
    passes: u32,
    /// Number of groups that the last pass left out.
    pub(super) left_out: usize,
}

impl Planner {
    /// Computes the same plan as [`plan`]. [`ClusterObservation::changed`] must name all changes since
    /// the observation of the call before.
    pub fn plan(&mut self, c: &Catalogue, o: &ClusterObservation) -> Plan {
        let answering: BTreeSet<NodeId> = c.present().filter(|n| o.reachable(*n)).collect();
        let whole = c.present().count() == answering.len();
        let basis = Some((c.version, answering));
        self.passes += 1;
        match &o.changed {
            Some(changed) if whole && basis == self.basis && self.passes < FULL_EVERY => {
                self.settled.retain(|id| !changed.contains(id));
            }
            _ => (self.settled, self.passes) = (BTreeSet::new(), 0),
        }
        self.basis = basis;
        self.left_out = self.settled.len();
        let (plan, busy) = pass(c, o, &self.settled);
        if whole {
            self.settle(c, o, &busy);
        }
        plan
    }

    /// Takes the groups of which a pass said nothing among the settled groups. A group with an open removal, fence or
    /// broken replica is never settled.
    fn settle(&mut self, c: &Catalogue, o: &ClusterObservation, busy: &BTreeSet<GroupId>) {
        if self.settled.len() == c.groups.len() {
            return;
        }
        let open = |n: &super::NodeObservation| {
            let keys = n.deleted.iter().chain(&n.fenced).chain(&n.broken);
            keys.map(|(group, _)| *group).collect::<Vec<_>>()
        };
        let open: BTreeSet<GroupId> = o.nodes.values().flat_map(open).collect();
        let disagrees = |id: &GroupId| o.disagreeing.as_ref().is_none_or(|d| d.contains(id));
        let leaves = |group: &Group| group.replicas.values().any(|r| r.state == ReplicaState::Leaving);
        let quiet = |id: &GroupId, group: &Group| {
            let open = open.contains(id) || o.contradictions.contains_key(id) || disagrees(id);
            !busy.contains(id) && !open && !leaves(group) && o.groups.contains_key(id)
        };
        self.settled.extend(c.groups.iter().filter(|(id, group)| quiet(id, group)).map(|(id, _)| *id));
    }
}
