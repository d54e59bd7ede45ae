//! Membership of the system group: new nodes become learners, a fixed number of nodes vote ([`system_voters`]), and
//! departing nodes leave the membership.
//!
//! In the system group the replica id equals the node id.

use super::{
    action::{Action, Plan},
    departures::{given_up, holds_nothing, unnamed},
    leadership::successor,
    observation::{ClusterObservation, GroupObservation},
};
use crate::{
    catalogue::{Catalogue, NodeState, system_voters},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the next step of the system group.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let Some(observed) = o.groups.get(&GroupId::SYSTEM) else { return };
    let system = SystemGroup::new(c, o, observed);
    if observed.joint() {
        plan.actions.extend(system.finish_joint());
        return;
    }
    let new = system.newcomers();
    if new.is_empty() {
        plan.actions.extend(system.change_voters());
    } else {
        let voters = observed.voters();
        let mut learners = system.learners_beside(&voters);
        learners.extend(new);
        plan.actions.push(system.change(voters, learners));
    }
}

/// The system group and its nodes. A node of the catalogue is leaving, staying or removed.
struct SystemGroup<'a> {
    catalogue: &'a Catalogue,
    cluster: &'a ClusterObservation,
    observed: &'a GroupObservation,
    /// Nodes in state [`NodeState::Member`].
    members: BTreeSet<NodeId>,
    /// Nodes to remove from the membership now.
    leaving: BTreeSet<NodeId>,
    /// All other nodes that have not been removed, including drained nodes with remaining data.
    staying: BTreeSet<NodeId>,
}

impl<'a> SystemGroup<'a> {
    fn new(catalogue: &'a Catalogue, cluster: &'a ClusterObservation, observed: &'a GroupObservation) -> Self {
        let members: BTreeSet<NodeId> = catalogue.members().collect();
        let leaving = leaving(catalogue, cluster, observed, members.len());
        let staying = catalogue.present().filter(|n| !leaving.contains(n)).collect();
        Self { catalogue, cluster, observed, members, leaving, staying }
    }

    /// Finishes a change of the voters that an earlier leader left joint. The newer voters win.
    fn finish_joint(&self) -> Option<Action> {
        let last = self.observed.configs.last()?;
        let learn = |r: &ReplicaId| !last.contains(r) && !self.observed.configs[0].contains(r);
        let learners = self.observed.hosts.iter().filter(|(r, _)| learn(r));
        Some(self.change(last.clone(), learners.map(|(r, n)| (*r, *n)).collect()))
    }

    /// Returns the nodes to add as learners. A node that was drained right after joining becomes a learner too, because
    /// the catalogue may already have placed replicas on the node.
    fn newcomers(&self) -> BTreeMap<ReplicaId, NodeId> {
        let replacing = |n: &NodeId| matches!(self.catalogue.nodes[n].state, NodeState::Replacing { .. });
        let nodes = self.staying.iter().map(|n| (replica(*n), *n));
        nodes.filter(|(r, n)| !self.observed.hosts.contains_key(r) && !replacing(n)).collect()
    }

    /// Changes the voters and removes leaving nodes, once every new voter is caught up and a majority of the new voters
    /// is close to the leader.
    fn change_voters(&self) -> Option<Action> {
        let voters = self.observed.voters();
        let wanted = self.wanted_voters();
        let gone = self.observed.hosts.values().any(|n| self.leaving.contains(n));
        if wanted == voters && !gone {
            return None;
        }
        if wanted.iter().any(|v| !voters.contains(v) && !self.cluster.caught_up(GroupId::SYSTEM, *v)) {
            return None;
        }
        let close = wanted.iter().filter(|v| self.cluster.close(GroupId::SYSTEM, **v)).count();
        if close * 2 <= wanted.len() {
            return None;
        }
        if wanted.contains(&self.observed.leader) {
            let learners = self.learners_beside(&wanted);
            return Some(self.change(wanted, learners));
        }
        self.move_leader(wanted)
    }

    /// Selects the voters, best [`VoterRank`] first and by lowest id within a rank.
    ///
    /// Voting members keep their vote. A departing node with remaining data keeps the vote unless a reachable member
    /// can vote instead, because a blocked drain must not cost the group a voter. A departing node that answers goes
    /// before a departing node that does not answer.
    fn wanted_voters(&self) -> BTreeSet<ReplicaId> {
        let voters = self.observed.voters();
        let mut ranked: Vec<(VoterRank, NodeId)> = self
            .staying
            .iter()
            .filter(|n| self.members.contains(n) || voters.contains(&replica(**n)))
            .map(|n| {
                let rank = match (voters.contains(&replica(*n)), self.cluster.reachable(*n)) {
                    (_, true) if !self.members.contains(n) => VoterRank::LeavingVoter,
                    (_, false) if !self.members.contains(n) => VoterRank::LostVoter,
                    (true, _) if replica(*n) == self.observed.leader => VoterRank::Leader,
                    (true, true) => VoterRank::ReachableVoter,
                    (true, false) => VoterRank::UnreachableVoter,
                    (false, true) => VoterRank::ReachableLearner,
                    (false, false) => VoterRank::UnreachableLearner,
                };
                (rank, *n)
            })
            .collect();
        ranked.sort_unstable();
        // Unreachable nodes count, so an outage does not shrink the group. A learner must catch up before promotion, so
        // an unreachable learner is never promoted.
        let number = system_voters(ranked.len());
        ranked.into_iter().take(number).map(|(_, n)| replica(n)).collect()
    }

    /// Moves leadership away from a leader that is to lose the vote.
    ///
    /// A caught-up voter among `wanted` takes over. Without such a voter, the new voters first vote beside the leader.
    fn move_leader(&self, wanted: BTreeSet<ReplicaId>) -> Option<Action> {
        if let Some(to) = successor(self.cluster, GroupId::SYSTEM, self.observed, &wanted) {
            return Some(Action::transfer(GroupId::SYSTEM, self.observed, to));
        }
        let mut both = wanted;
        both.insert(self.observed.leader);
        (both != self.observed.voters()).then(|| {
            let learners = self.learners_beside(&both);
            self.change(both, learners)
        })
    }

    /// Returns the learners of a change to `voters`: all nodes of the present membership except voters and leaving
    /// nodes. A node that a change does not name leaves the membership.
    fn learners_beside(&self, voters: &BTreeSet<ReplicaId>) -> BTreeMap<ReplicaId, NodeId> {
        let stay = self.observed.hosts.iter().filter(|(r, n)| !voters.contains(r) && !self.leaving.contains(n));
        stay.map(|(r, n)| (*r, *n)).collect()
    }

    fn change(&self, voters: BTreeSet<ReplicaId>, learners: BTreeMap<ReplicaId, NodeId>) -> Action {
        Action::change_membership(GroupId::SYSTEM, self.observed, voters, learners)
    }
}

/// Preference of a node as a voter of the system group, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum VoterRank {
    Leader,
    ReachableVoter,
    UnreachableVoter,
    ReachableLearner,
    /// Votes, answers, is no longer in state [`NodeState::Member`], and cannot leave yet.
    LeavingVoter,
    /// Like [`VoterRank::LeavingVoter`], and does not answer.
    LostVoter,
    UnreachableLearner,
}

/// Returns the nodes to remove from the membership now.
///
/// - A drained node stays until the last data is gone, because the node must learn from the catalogue, the state of
///   this group, which replicas to remove.
/// - A lost voter stays until the successor votes, or until the members can fill all votes that the group keeps. A
///   replacement never reduces the number of voters, but a drain does, so votes of nodes that leave by a drain are not
///   kept. Without the first rule, a successor that registers before the replacement adds a vote that no
///   member can fill later.
fn leaving(c: &Catalogue, o: &ClusterObservation, observed: &GroupObservation, members: usize) -> BTreeSet<NodeId> {
    let drained = |id: NodeId| holds_nothing(c, id) || given_up(c, o, id);
    let voters = observed.voters();
    let keeps_vote = |id: NodeId, state: NodeState| match state {
        NodeState::Member | NodeState::Replacing { .. } => true,
        NodeState::Draining => !drained(id),
        NodeState::Removed { .. } => false,
    };
    let votes = c.nodes.iter().filter(|(id, n)| voters.contains(&replica(**id)) && keeps_vote(**id, n.state)).count();
    let leaves = |id: NodeId, state: NodeState| match state {
        NodeState::Member => false,
        NodeState::Draining => drained(id),
        NodeState::Replacing { by } => {
            let succeeded = by.is_some_and(|successor| voters.contains(&replica(successor)));
            unnamed(c, id) && (!voters.contains(&replica(id)) || members >= votes || succeeded)
        }
        NodeState::Removed { .. } => true,
    };
    c.nodes.iter().filter(|(id, n)| leaves(**id, n.state)).map(|(id, _)| *id).collect()
}

fn replica(node: NodeId) -> ReplicaId {
    ReplicaId::new(node.get())
}
