//! Leadership of groups: which replica may take over, and which takes over next.
//!
//! Three parties move leadership, and each knows something else:
//! - A leader that stops, or that was asked to hand over, has its own log at hand: [`can_take_over`].
//! - A node that gives all its leaderships away chooses from an observation that is a moment old: [`best_candidate`]
//!   alone.
//!   The leader then checks the choice with [`can_take_over`].
//! - The planner has time, and waits until a replica has been close to the leader for a while
//!   ([`ClusterObservation::caught_up`]), a stricter rule.

use super::{
    action::{Action, Plan},
    observation::{ClusterObservation, GroupObservation},
};
use crate::{
    catalogue::Catalogue,
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// A replica of a group that may lead next, as its present leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The replica.
    pub replica: ReplicaId,
    /// True if the replica votes.
    pub voter: bool,
    /// Index up to which the replica's log matches the leader's; 0 for unknown.
    pub matched: u64,
}

/// Whether a replica may take leadership over from `leader`, which has committed up to index `committed`: the replica
/// is another voter, and lacks at most the last committed entry. A replica that lacks more would have to fetch it while
/// nobody leads.
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

/// The voter other than `leader` whose log matches the leader's furthest; of several the one with the highest id.
#[must_use]
pub fn best_candidate(leader: ReplicaId, replicas: impl IntoIterator<Item = Candidate>) -> Option<Candidate> {
    let others = replicas.into_iter().filter(|candidate| is_other_voter(leader, *candidate));
    others.max_by_key(|candidate| (candidate.matched, candidate.replica))
}

fn is_other_voter(leader: ReplicaId, candidate: Candidate) -> bool {
    candidate.voter && candidate.replica != leader
}

/// The replica that leads after a leader that does not stay: a caught-up voter among `stay`, the one with the lowest
/// id.
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

/// Moves one leader from the node that leads most to the node that leads least, if that evens the numbers out.
pub(super) fn balance(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let mut load: BTreeMap<NodeId, usize> = c.members().filter(|n| o.reachable(*n)).map(|n| (n, 0)).collect();
    for observed in c.groups.keys().filter_map(|id| o.groups.get(id)) {
        if let Some(n) = load.get_mut(&observed.leader_node) {
            *n += 1;
        }
    }
    for (id, observed) in c.groups.keys().filter_map(|id| o.groups.get(id).map(|observed| (*id, observed))) {
        let Some(from) = load.get(&observed.leader_node).copied() else { continue };
        if observed.joint() || !observed.voters().iter().all(|v| o.caught_up(id, *v)) {
            continue;
        }
        let best = observed
            .voters()
            .into_iter()
            .filter(|v| *v != observed.leader)
            .filter_map(|v| observed.hosts.get(&v).and_then(|n| load.get(n)).map(|n| (*n, v)))
            .min();
        // Two apart is even: a move would only swap them.
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
        assert!(!can(candidate(2, true, 0)), "nothing is known of the log");
        assert!(!can(candidate(2, false, 10)), "a learner");
        assert!(!can(candidate(1, true, 10)), "the leader itself");
    }

    #[test]
    fn the_best_candidate_is_the_other_voter_with_the_longest_matching_log() {
        let best = |replicas: &[Candidate]| best_candidate(LEADER, replicas.iter().copied()).map(|c| c.replica.get());
        let replicas = [candidate(1, true, 20), candidate(2, true, 9), candidate(3, true, 10), candidate(4, false, 15)];
        assert_eq!(best(&replicas), Some(3));
        assert_eq!(best(&[candidate(3, true, 10), candidate(2, true, 10)]), Some(3), "the highest id of equal ones");
        assert_eq!(best(&[candidate(1, true, 20), candidate(4, false, 15)]), None);
    }
}
