//! Placement of a store group: the nodes whose replicas are to vote.

use super::group_view::GroupView;
use crate::{
    catalogue::{NodeState, ReplicaState},
    ids::NodeId,
};
use std::collections::BTreeSet;

/// Preference of a node as the place of a voter, best first.
///
/// Of too many voters the unreachable ones go first and the leader goes last. A reachable learner comes before an
/// unreachable voter: a replica that learns beside as many voters as are wanted takes the place of a voter that was
/// fenced or lost, and another coordinator, which does not know that while the voter's node is away, must not turn
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Leader,
    ReachableVoter,
    ReachableLearner,
    UnreachableVoter,
    /// No replica yet; named as the successor of a lost node that has one.
    Successor,
    /// No replica yet.
    Free,
    /// Has a replica that must go first: fenced, or still being removed.
    Occupied,
    UnreachableLearner,
    /// No replica yet, and a new one would never catch up: only if there is no other node.
    Unreachable,
}

/// The nodes that are to vote, of the nodes that `stays` accepts and of all members: nodes with a voter before nodes
/// with another replica, and then the emptiest. A node whose replica is fenced counts as a node without one. `None`:
/// there are fewer than `wanted` nodes.
pub(super) fn target(g: &GroupView, wanted: usize, stays: &dyn Fn(NodeId) -> bool) -> Option<BTreeSet<NodeId>> {
    let mut ranked = nodes_with_replica(g, stays);
    let taken: BTreeSet<NodeId> = ranked.iter().map(|(_, n)| *n).collect();
    ranked.sort_unstable();
    // The order of the emptiest first is kept within a rank: the second sort is stable.
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
        .filter(|(replica, r)| r.state != ReplicaState::Leaving && stays(r.node) && !g.fenced(**replica, r));
    let ranked = usable.map(|(replica, r)| {
        let rank = match (voters.contains(replica), g.cluster.reachable(r.node)) {
            (true, true) if *replica == g.observed.leader => Rank::Leader,
            (true, true) => Rank::ReachableVoter,
            (false, true) => Rank::ReachableLearner,
            (true, false) => Rank::UnreachableVoter,
            (false, false) => Rank::UnreachableLearner,
        };
        (rank, r.node)
    });
    ranked.collect()
}

/// Members without a usable replica, the emptiest first.
fn nodes_without_replica(g: &GroupView, taken: &BTreeSet<NodeId>) -> Vec<(Rank, NodeId)> {
    let successor = g.record.nodes().find_map(|n| match g.catalogue.nodes.get(&n).map(|n| n.state) {
        Some(NodeState::Replacing { by }) => by,
        _ => None,
    });
    let rank = |n: NodeId| {
        if !g.cluster.reachable(n) {
            Rank::Unreachable
        } else if g.still_leaves(n) || g.record.on(n).is_some() {
            Rank::Occupied
        } else if Some(n) == successor {
            Rank::Successor
        } else {
            Rank::Free
        }
    };
    g.catalogue.by_load().into_iter().filter(|n| !taken.contains(n)).map(|n| (rank(n), n)).collect()
}
