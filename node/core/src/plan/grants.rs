//! Disruption grant of a replacement.
//!
//! The replacement of a lost node holds the disruption grant under the name [`REPLACEMENT`], so that no other node is
//! taken down while groups lack the replicas of the lost node. The grant ends with the replacement or after
//! [`REPLACEMENT_TTL_US`], because a replacement that never finishes may itself wait for a step that needs the grant.

use super::{action::Plan, observation::ClusterObservation};
use crate::catalogue::{Catalogue, Kind, NodeState};

/// Holder name of the grant of a replacement.
pub const REPLACEMENT: &str = "replacement";
/// Lifetime of a replacement's grant, microseconds. The new replicas must fetch the logs of all groups in this time.
pub const REPLACEMENT_TTL_US: u64 = 600_000_000;

/// Longest time between the grant and the command that starts the replacement, microseconds. Longer than a proposal may
/// take, and longer than the pause of the operator before a retry.
const ASKED_US: u64 = 60_000_000;

/// Releases a grant that has outlived its time although the catalogue's clock says otherwise: a node with a wrong clock has
/// once moved the catalogue's clock far ahead, and the clock stands still until the other clocks have passed the time.
///
/// Releases the grant of a replacement
/// - once the lost node has been removed from the catalogue, or
/// - once the request for the replacement has been abandoned: neither the command nor a retry, which would have renewed
///   the grant, arrived within a minute.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let Some(grant) = c.live_grant(o.now_us) else { return };
    let observed = o.grant.as_ref().filter(|observed| observed.grant == *grant);
    if observed.is_some_and(|observed| o.now_us.saturating_sub(observed.since_us) >= observed.remaining_us) {
        plan.propose(Kind::ReleaseGrant { node: grant.node, holder: grant.holder.clone() });
        return;
    }
    if grant.holder != REPLACEMENT {
        return;
    }
    let asked_ago = o.now_us.saturating_add(REPLACEMENT_TTL_US).saturating_sub(grant.until_us);
    let over = c.nodes.get(&grant.node).is_none_or(|n| match n.state {
        NodeState::Removed { .. } => true,
        NodeState::Member | NodeState::Draining => asked_ago >= ASKED_US,
        NodeState::Replacing { .. } => false,
    });
    if over {
        plan.propose(Kind::ReleaseGrant { node: grant.node, holder: grant.holder.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{Grant, Node},
        ids::{DiskId, NodeId},
        plan::{Action, Plan},
    };
    use uuid::Uuid;

    const LOST: NodeId = NodeId::new(2);

    fn planned(holder: &str, until_us: u64, state: NodeState) -> Vec<Action> {
        planned_at(100, holder, until_us, state)
    }

    fn planned_at(now_us: u64, holder: &str, until_us: u64, state: NodeState) -> Vec<Action> {
        let grant = Grant { node: LOST, holder: holder.into(), until_us };
        let mut c = Catalogue { clock_us: 100, grant: Some(grant), ..Catalogue::default() };
        let disk = DiskId::new(Uuid::from_u128(2));
        let (name, address, version) = (String::new(), String::new(), String::new());
        c.nodes.insert(LOST, Node { disk, name, address, version, state });
        let mut planned = Plan::default();
        plan(&c, &ClusterObservation { now_us, ..ClusterObservation::default() }, &mut planned);
        planned.actions
    }

    #[test]
    fn a_replacement_gives_its_grant_back_when_the_lost_node_is_gone_and_not_earlier() {
        let gone = NodeState::Removed { forced: true };
        let release = Action::Propose(Kind::ReleaseGrant { node: LOST, holder: REPLACEMENT.into() });
        let until = 100 + REPLACEMENT_TTL_US;
        assert_eq!(planned(REPLACEMENT, until, gone), [release]);
        for state in [NodeState::Member, NodeState::Draining, NodeState::Replacing { by: None }] {
            assert_eq!(planned(REPLACEMENT, until, state), []);
        }
        assert_eq!(planned("operator", 200, gone), [], "another holder releases the grant itself");
        assert_eq!(planned(REPLACEMENT, 100, gone), [], "an expired grant needs no release");
    }

    #[test]
    fn a_grant_ends_in_its_time_although_the_clock_of_the_catalogue_is_ahead() {
        let (year, ttl) = (365 * 24 * 3_600_000_000_u64, 300_000_000);
        for holder in ["operator", REPLACEMENT] {
            let grant = Grant { node: LOST, holder: holder.into(), until_us: year + ttl };
            let mut c = Catalogue { clock_us: year, grant: Some(grant.clone()), ..Catalogue::default() };
            let disk = DiskId::new(Uuid::from_u128(2));
            let (name, address, version) = (String::new(), String::new(), String::new());
            let state = NodeState::Replacing { by: None };
            c.nodes.insert(LOST, Node { disk, name, address, version, state });
            let mut previous = ClusterObservation::default();
            let mut released_at = |c: &Catalogue, now_us: u64| {
                let mut o = ClusterObservation { now_us, ..ClusterObservation::default() };
                o.settle(c, &previous);
                previous = o.clone();
                let mut planned = Plan::default();
                plan(c, &o, &mut planned);
                planned.actions
            };
            let release = Action::Propose(Kind::ReleaseGrant { node: LOST, holder: holder.into() });
            assert_eq!(released_at(&c, 1_000), []);
            assert_eq!(released_at(&c, 999 + ttl), [], "{holder}");
            assert_eq!(released_at(&c, 1_000 + ttl), [release], "{holder}");
            // A renewed grant has its whole time again.
            c.grant = Some(Grant { until_us: year + ttl + 1, ..grant });
            assert_eq!(released_at(&c, 2_000 + ttl), [], "{holder}");
        }
    }

    #[test]
    fn a_replacement_that_nobody_asks_for_any_more_gives_its_grant_back_long_before_it_runs_out() {
        let release = Action::Propose(Kind::ReleaseGrant { node: LOST, holder: REPLACEMENT.into() });
        let until = 100 + REPLACEMENT_TTL_US;
        for state in [NodeState::Member, NodeState::Draining] {
            assert_eq!(planned_at(99 + ASKED_US, REPLACEMENT, until, state), [], "the command may still come");
            assert_eq!(planned_at(100 + ASKED_US, REPLACEMENT, until, state), std::slice::from_ref(&release));
        }
        let state = NodeState::Replacing { by: None };
        assert_eq!(planned_at(100 + ASKED_US, REPLACEMENT, until, state), [], "the replacement is in progress");
    }
}
