//! Placement of a store group: selects the nodes whose replicas are to vote.

use super::group_view::GroupView;
use crate::{
    catalogue::{NodeState, ReplicaState},
    ids::NodeId,
};
use std::collections::BTreeSet;

/// Preference of a node as the place of a voter, best first.
///
/// - If a group has too many voters, unreachable voters lose their vote first, and the leader loses its vote last.
/// - A voter that does not answer keeps its place for as long as the node may merely restart
///   ([`ClusterObservation::may_restart`](super::observation::ClusterObservation::may_restart)). One missed poll must not
///   cost a copy of the whole store.
/// - A reachable learner comes before a lost voter. A learner beside the full number of voters replaces a voter that was
///   fenced, broken or lost. A new coordinator does not know the reason while the voter's node is unreachable, and must continue
///   the replacement after the time of a restart instead of reverting to the old voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Leader,
    ReachableVoter,
    RestartingVoter,
    ReachableLearner,
    LostVoter,
    /// Does not answer and may merely restart. One missed poll must not cost the copy of the learner.
    RestartingLearner,
    /// Has no replica, and is the named successor of a lost node that has a replica.
    Successor,
    /// Has no replica.
    Free,
    /// Has a broken or leaving replica, whose data must be removed before a new replica can begin.
    Occupied,
    /// Has a fenced replica, whose data stays until a person frees the replica.
    Kept,
    UnreachableLearner,
    /// Has no usable replica and does not answer. A new replica would never catch up, so the node is the last resort.
    Unreachable,
}

/// Selects `wanted` nodes whose replicas are to vote, best [`Rank`] first; `None` if too few candidates exist.
///
/// The candidates are:
/// - nodes accepted by `stays` with a usable replica (neither leaving, fenced nor broken), by lowest id within a rank;
/// - all other members of the cluster, by fewest replicas within a rank.
pub(super) fn target(g: &GroupView, wanted: usize, stays: &dyn Fn(NodeId) -> bool) -> Option<BTreeSet<NodeId>> {
    let mut ranked = nodes_with_replica(g, stays);
    let taken: BTreeSet<NodeId> = ranked.iter().map(|(_, n)| *n).collect();
    ranked.sort_unstable();
    // The second sort is stable and so keeps the order by load of the nodes without a usable replica.
    ranked.extend(nodes_without_replica(g, &taken));
    ranked.sort_by_key(|(rank, _)| *rank);
    let target: BTreeSet<NodeId> = ranked.into_iter().take(wanted).map(|(_, n)| n).collect();
    (target.len() == wanted).then_some(target)
}

fn nodes_with_replica(g: &GroupView, stays: &dyn Fn(NodeId) -> bool) -> Vec<(Rank, NodeId)> {
    let voters = g.observed.voters();
    let usable = g
        .record
        .replicas
        .iter()
        .filter(|(replica, r)| r.state != ReplicaState::Leaving && stays(r.node) && !g.lost(**replica, r));
    let ranked = usable.map(|(replica, r)| {
        let rank = match (voters.contains(replica), g.cluster.reachable(r.node)) {
            (true, true) if *replica == g.observed.leader => Rank::Leader,
            (true, true) => Rank::ReachableVoter,
            (false, true) => Rank::ReachableLearner,
            (true, false) if g.cluster.may_restart(g.catalogue, r.node) => Rank::RestartingVoter,
            (true, false) => Rank::LostVoter,
            (false, false) if g.cluster.may_restart(g.catalogue, r.node) => Rank::RestartingLearner,
            (false, false) => Rank::UnreachableLearner,
        };
        (rank, r.node)
    });
    ranked.collect()
}

/// Ranks the members without a usable replica, fewest replicas first.
fn nodes_without_replica(g: &GroupView, taken: &BTreeSet<NodeId>) -> Vec<(Rank, NodeId)> {
    let successor = g.record.nodes().find_map(|n| match g.catalogue.nodes.get(&n).map(|n| n.state) {
        Some(NodeState::Replacing { by }) => by,
        _ => None,
    });
    let rank = |n: NodeId| {
        if !g.cluster.reachable(n) {
            Rank::Unreachable
        } else if g.has_fenced(n) {
            Rank::Kept
        } else if g.still_leaves(n) || g.record.on(n).is_some() {
            Rank::Occupied
        } else if Some(n) == successor {
            Rank::Successor
        } else {
            Rank::Free
        }
    };
    g.by_load.iter().copied().filter(|n| !taken.contains(n)).map(|n| (rank(n), n)).collect()
}
