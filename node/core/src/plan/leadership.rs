//! Leadership of groups: selection of the next leader, and the balance of leaders between nodes.
//!
//! Three parties move leadership, each with different knowledge:
//! - A leader that stops, or that is asked to hand over, knows its own log and decides with [`can_take_over`].
//! - A node that gives away all its leaderships has a slightly outdated observation and chooses with
//!   [`best_candidate`] alone. The leader then checks the choice with [`can_take_over`].
//! - The planner is not in a hurry and applies a stricter rule: the next leader must have been close for a
//!   while, see [`ClusterObservation::caught_up`].

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation},
};
use crate::{
    catalogue::Catalogue,
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A possible next leader of a group, as known to the present leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Id of the replica.
    pub replica: ReplicaId,
    /// True if the replica votes.
    pub voter: bool,
    /// Index up to which the replica's log matches the leader's; 0 if unknown.
    pub matched: u64,
}

/// Decides whether a replica may take over leadership from `leader`, whose committed index is `committed`.
///
/// The candidate must be another voter and must lack at most the last committed entry. A replica with a larger gap
/// would have to fetch the missing entries while the group has no leader.
///
/// ```
/// use taffrail_core::{ids::ReplicaId, plan::{Candidate, can_take_over}};
///
/// let leader = ReplicaId::new(1);
/// let voter = Candidate { replica: ReplicaId::new(2), voter: true, matched: 99 };
/// assert!(can_take_over(leader, voter, 100));
/// assert!(!can_take_over(leader, voter, 101));
/// ```
#[must_use]
pub fn can_take_over(leader: ReplicaId, candidate: Candidate, committed: u64) -> bool {
    is_other_voter(leader, candidate) && candidate.matched + 1 >= committed
}

/// Returns the voter other than `leader` with the longest log in common with the leader; among equals, the highest id.
#[must_use]
pub fn best_candidate(leader: ReplicaId, replicas: impl IntoIterator<Item = Candidate>) -> Option<Candidate> {
    let others = replicas.into_iter().filter(|candidate| is_other_voter(leader, *candidate));
    others.max_by_key(|candidate| (candidate.matched, candidate.replica))
}

fn is_other_voter(leader: ReplicaId, candidate: Candidate) -> bool {
    candidate.voter && candidate.replica != leader
}

/// Selects the next leader of a group whose leader leaves: the caught-up voter in `stay` with the lowest id.
pub(super) fn successor(
    o: &ClusterObservation,
    group: GroupId,
    observed: &GroupObservation,
    stay: &BTreeSet<ReplicaId>,
) -> Option<ReplicaId> {
    let voters = observed.voters();
    let able = |r: &&ReplicaId| voters.contains(r) && **r != observed.leader && o.caught_up(group, **r);
    stay.iter().find(able).copied()
}

/// Plans at most one transfer of leadership from a node with more leaders to a node with at least three fewer.
///
/// Only groups whose voters are all caught up take part, and no node of `unfit`: nodes whose clocks are
/// wrong or whose disks are nearly full.
pub(super) fn balance(c: &Catalogue, o: &ClusterObservation, unfit: &BTreeSet<NodeId>, plan: &mut Plan) {
    let fit = c.members().filter(|n| o.reachable(*n) && !unfit.contains(n));
    let mut load: BTreeMap<NodeId, usize> = fit.map(|n| (n, 0)).collect();
    for observed in c.groups.keys().filter_map(|id| o.groups.get(id)) {
        if let Some(n) = load.get_mut(&observed.leader_node) {
            *n += 1;
        }
    }
    // The usual case: no move can pass the comparison below.
    let most = load.values().max().copied().unwrap_or(0);
    if load.values().min().is_none_or(|least| least + 2 >= most) {
        return;
    }
    for (id, observed) in c.groups.keys().filter_map(|id| o.groups.get(id).map(|observed| (*id, observed))) {
        let Some(from) = load.get(&observed.leader_node).copied() else { continue };
        if observed.changing() || !observed.voters().iter().all(|v| o.caught_up(id, *v)) {
            continue;
        }
        let best = observed
            .voters()
            .into_iter()
            .filter(|v| *v != observed.leader)
            .filter_map(|v| observed.hosts.get(&v).and_then(|n| load.get(n)).map(|n| (*n, v)))
            .min();
        // A difference of one or two counts as even: a move would only reverse a difference of one.
        if let Some((to_load, to)) = best
            && to_load + 2 < from
        {
            plan.actions.push(Action::transfer(id, observed, to));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: ReplicaId = ReplicaId::new(1);

    fn candidate(replica: u64, voter: bool, matched: u64) -> Candidate {
        Candidate { replica: ReplicaId::new(replica), voter, matched }
    }

    #[test]
    fn only_another_voter_that_lacks_at_most_the_last_committed_entry_can_take_over() {
        let can = |candidate| can_take_over(LEADER, candidate, 10);
        assert!(can(candidate(2, true, 12)) && can(candidate(2, true, 10)) && can(candidate(2, true, 9)));
        assert!(!can(candidate(2, true, 8)), "two entries are missing");
        assert!(!can(candidate(2, true, 0)), "the log is unknown");
        assert!(!can(candidate(2, false, 10)), "a learner");
        assert!(!can(candidate(1, true, 10)), "the leader itself");
    }

    #[test]
    fn the_best_candidate_is_the_other_voter_with_the_longest_matching_log() {
        let best = |replicas: &[Candidate]| best_candidate(LEADER, replicas.iter().copied()).map(|c| c.replica.get());
        let replicas = [candidate(1, true, 20), candidate(2, true, 9), candidate(3, true, 10), candidate(4, false, 15)];
        assert_eq!(best(&replicas), Some(3));
        assert_eq!(best(&[candidate(3, true, 10), candidate(2, true, 10)]), Some(3), "the highest id among equals");
        assert_eq!(best(&[candidate(1, true, 20), candidate(4, false, 15)]), None);
    }
}
