//! Divergence: replicas of one group that have applied the same log must have the same digest. A replica with another
//! digest than the majority is divergent: its data is not the group's, however far its log is. The planner has it
//! fenced, and then replaces it like a lost one.

use super::{
    action::{Fence, Plan},
    observation::{ClusterObservation, GroupObservation},
    wait_reason::WaitReason,
};
use crate::{
    catalogue::{Catalogue, ReplicaState, StoreState},
    ids::{Digest, GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of one group at one index, each with the replicas that report it.
type Votes = BTreeMap<[u8; 32], BTreeSet<ReplicaId>>;

/// Reports divergent replicas, and plans the fence of at most one of a group. Without a majority nothing is fenced.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let divergent = divergent(o);
    for (group, observed) in &o.groups {
        let store = c.groups.get(group).map(|g| g.store);
        for replica in divergent.get(group).into_iter().flatten() {
            let Some(node) = host(o, *group, *replica) else { continue };
            let sentence = format!(
                "replica {replica} on node {node} reached a different state than the majority after applying the same log"
            );
            plan.wait(store, Some(node), WaitReason::ReplicaInconsistent, sentence);
        }
        let votes = votes(o, *group);
        if !divergent.contains_key(group) && !votes.is_empty() {
            let sentence =
                "replicas reached different states after applying the same log, and no majority says which is right";
            plan.wait(store, None, WaitReason::ReplicaInconsistent, sentence.into());
        }
        fence_one(c, o, permitted(c, o, *group, observed, &votes), plan);
    }
}

/// Plans the first of a group's fences that need not wait; if all must wait, says why.
fn fence_one(c: &Catalogue, o: &ClusterObservation, fences: Vec<Fence>, plan: &mut Plan) {
    if let Some(fence) = fences.iter().find(|fence| held_back(c, o, fence).is_none()) {
        plan.fences.push(fence.clone());
        return;
    }
    for fence in fences {
        if let Some(sentence) = held_back(c, o, &fence) {
            let store = c.groups.get(&fence.group).map(|g| g.store);
            plan.wait(store, Some(fence.node), WaitReason::ReplicaInconsistent, sentence);
        }
    }
}

/// Why a permitted fence must wait; `None` if it need not.
///
/// - The node of the disruption grant may be out at any moment, so the group would live on what is left without both
///   nodes. The grant's own node counts as out anyway.
/// - A binary that applies the log differently than the others would be given one new replica after the other.
fn held_back(c: &Catalogue, o: &ClusterObservation, fence: &Fence) -> Option<String> {
    let Fence { replica, node, .. } = fence;
    if let Some(grant) = c.live_grant(o.now_us).filter(|g| g.node != *node) {
        let (other, holder) = (grant.node, &grant.holder);
        return Some(format!(
            "replica {replica} on node {node} is not fenced while {holder} may take node {other} away"
        ));
    }
    o.fenced_lately(fence.group, *node).then(|| {
        format!(
            "replica {replica} on node {node} replaced one that was fenced within the hour, and reached a different state"
        )
    })
}

/// The fences that a group permits: each replica contradicts a majority of all voters, not merely of those that
/// answered, and that majority runs and is close to the leader. What is left is then the group's data, and enough to go
/// on. In the system group the replica is its node, which only a person replaces.
fn permitted(
    c: &Catalogue,
    o: &ClusterObservation,
    group: GroupId,
    observed: &GroupObservation,
    votes: &BTreeMap<u64, Votes>,
) -> Vec<Fence> {
    let Some(record) = c.groups.get(&group) else { return Vec::new() };
    let removing = c.stores.get(&record.store).is_none_or(|s| s.state == StoreState::Removing);
    if removing || observed.joint() || !observed.quorum {
        return Vec::new();
    }
    let voters = observed.voters();
    // One at a time, and a voter that is still to be replaced counts. A learner costs the group no vote, and a
    // divergent new replica must not keep the old one's place open.
    let out = |r: &ReplicaId| {
        let leaves = record.replicas.get(r).is_none_or(|x| x.state == ReplicaState::Leaving);
        leaves || observed.hosts.get(r).is_none_or(|n| o.fenced(group, *r, *n) || o.tombstoned(group, *r, *n))
    };
    let (voter_out, learner_out) = (voters.iter().any(out), observed.learners().iter().any(out));
    let whole = |who: &BTreeSet<ReplicaId>| who.intersection(&voters).filter(|r| o.close(group, **r)).count();
    let mut fences = Vec::new();
    for (index, votes) in votes {
        let most = votes.iter().find(|(_, who)| whole(who) * 2 > voters.len());
        let Some((majority, right)) = most else { continue };
        for (digest, who) in votes {
            let divergent = who.iter().filter(|r| {
                let taken = if voters.contains(r) { voter_out } else { learner_out };
                !right.contains(r) && observed.hosts.contains_key(r) && !taken
            });
            for (replica, node) in divergent.filter_map(|r| Some((*r, host(o, group, *r)?))) {
                let (digest, majority) = (Digest(*digest), Digest(*majority));
                fences.push(Fence { group, replica, node, index: *index, digest, majority });
            }
        }
    }
    fences
}

/// Replicas of each group that contradict more than half of the replicas that have applied the same index.
pub(super) fn divergent(o: &ClusterObservation) -> BTreeMap<GroupId, BTreeSet<ReplicaId>> {
    let mut divergent: BTreeMap<GroupId, BTreeSet<ReplicaId>> = BTreeMap::new();
    for group in o.groups.keys() {
        for votes in votes(o, *group).values() {
            let all: usize = votes.values().map(BTreeSet::len).sum();
            // Without a majority it is unknown which replicas are right, and none counts as divergent.
            if let Some(most) = votes.values().find(|v| v.len() * 2 > all) {
                divergent.entry(*group).or_default().extend(votes.values().filter(|v| *v != most).flatten());
            }
        }
    }
    divergent
}

/// The indexes at which replicas of a group disagree, and the digests there.
///
/// A replica reports its digest at its applied index, and at marks, which all replicas pass. Index and digest are taken
/// together, so digests of one index can be compared although they were taken at different moments.
fn votes(o: &ClusterObservation, group: GroupId) -> BTreeMap<u64, Votes> {
    let mut by_index: BTreeMap<u64, Votes> = BTreeMap::new();
    for node in o.nodes.values().filter(|n| n.reachable) {
        let range = (group, ReplicaId::new(0))..=(group, ReplicaId::new(u64::MAX));
        for ((_, replica), report) in node.replicas.range(range) {
            let now = (report.applied, report.digest);
            // An empty digest says nothing: no command was applied under it.
            let said = report.marks.iter().copied().chain([now]).filter(|(i, d)| *i > 0 && *d != Digest::default());
            for (index, digest) in said {
                by_index.entry(index).or_default().entry(digest.0).or_default().insert(*replica);
            }
        }
    }
    by_index.retain(|_, votes| votes.len() > 1);
    by_index
}

fn host(o: &ClusterObservation, group: GroupId, replica: ReplicaId) -> Option<NodeId> {
    o.nodes.iter().find(|(_, n)| n.replicas.contains_key(&(group, replica))).map(|(id, _)| *id)
}
