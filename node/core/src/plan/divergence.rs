//! Replicas of one group that have applied the same entries must have the same digest. One that has not is odd: its data
//! is not the group's, however far its log is.

use super::{Fence, Observed, Plan};
use crate::{
    catalogue::Catalogue,
    ids::{Digest, GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of one group at one index, and who has each.
type Votes = BTreeMap<[u8; 32], BTreeSet<ReplicaId>>;

/// What replicas say that have applied the same index. A report takes index and digest together, so two of one index can
/// be compared although they were taken at different moments.
fn votes(o: &Observed, group: GroupId) -> Vec<Votes> {
    let mut by_index: BTreeMap<u64, Votes> = BTreeMap::new();
    for node in o.nodes.values().filter(|n| n.reachable) {
        let range = (group, ReplicaId::new(0))..=(group, ReplicaId::new(u64::MAX));
        for ((_, replica), report) in node.replicas.range(range) {
            // An empty digest says nothing: no command was applied under it.
            if report.applied > 0 && report.digest != Digest::default() {
                by_index.entry(report.applied).or_default().entry(report.digest.0).or_default().insert(*replica);
            }
        }
    }
    by_index.into_values().filter(|v| v.len() > 1).collect()
}

/// Replicas that contradict more than half of those that have applied the same index.
pub(super) fn odd_ones(o: &Observed) -> BTreeMap<GroupId, BTreeSet<ReplicaId>> {
    let mut odd: BTreeMap<GroupId, BTreeSet<ReplicaId>> = BTreeMap::new();
    for group in o.groups.keys() {
        for votes in votes(o, *group) {
            let all: usize = votes.values().map(BTreeSet::len).sum();
            // Without a majority nobody can say who is right, and nobody is fenced.
            if let Some(most) = votes.values().find(|v| v.len() * 2 > all) {
                odd.entry(*group).or_default().extend(votes.values().filter(|v| *v != most).flatten());
            }
        }
    }
    odd
}

/// Fences the odd ones, and says so; where nobody is in the majority it only says so.
pub(super) fn plan(c: &Catalogue, o: &Observed, plan: &mut Plan) {
    let odd = odd_ones(o);
    for group in o.groups.keys() {
        let store = c.groups.get(group).map(|g| g.store);
        for replica in odd.get(group).into_iter().flatten() {
            let Some(node) = host(o, *group, *replica) else { continue };
            let sentence = format!("replica {replica} on node {node} has applied the same entries to another end");
            plan.wait(store, Some(node), "ReplicaInconsistent", sentence.clone());
            plan.fences.push(Fence { group: *group, replica: *replica, node, reason: sentence });
        }
        if !odd.contains_key(group) && !votes(o, *group).is_empty() {
            let sentence =
                "replicas have applied the same entries to different ends, and no majority says which is right";
            plan.wait(store, None, "ReplicaInconsistent", sentence.into());
        }
    }
}

fn host(o: &Observed, group: GroupId, replica: ReplicaId) -> Option<NodeId> {
    o.nodes.iter().find(|(_, n)| n.replicas.contains_key(&(group, replica))).map(|(id, _)| *id)
}
