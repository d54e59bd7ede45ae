//! Replicas of one group that have applied the same entries must have the same digest. One that has not is odd: its data
//! is not the group's, however far its log is. It is fenced, and then replaced like a lost one.

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

/// Digests of one group at one index, and who has each.
type Votes = BTreeMap<[u8; 32], BTreeSet<ReplicaId>>;

/// What replicas say that have applied the same index: the one where they are now, and the marks that all of them pass. A
/// report takes index and digest together, so two of one index can be compared although they were taken at different
/// moments. Only indexes at which they do not agree.
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

/// Replicas that contradict more than half of those that have applied the same index.
pub(super) fn odd_ones(o: &ClusterObservation) -> BTreeMap<GroupId, BTreeSet<ReplicaId>> {
    let mut odd: BTreeMap<GroupId, BTreeSet<ReplicaId>> = BTreeMap::new();
    for group in o.groups.keys() {
        for votes in votes(o, *group).values() {
            let all: usize = votes.values().map(BTreeSet::len).sum();
            // Without a majority nobody can say who is right, and nobody is odd.
            if let Some(most) = votes.values().find(|v| v.len() * 2 > all) {
                odd.entry(*group).or_default().extend(votes.values().filter(|v| *v != most).flatten());
            }
        }
    }
    odd
}

/// Says who is odd and fences it; where nobody is in the majority it only says so.
pub(super) fn plan(c: &Catalogue, o: &ClusterObservation, plan: &mut Plan) {
    let odd = odd_ones(o);
    for (group, seen) in &o.groups {
        let store = c.groups.get(group).map(|g| g.store);
        for replica in odd.get(group).into_iter().flatten() {
            let Some(node) = host(o, *group, *replica) else { continue };
            let sentence = format!("replica {replica} on node {node} has applied the same entries to another end");
            plan.wait(store, Some(node), WaitReason::ReplicaInconsistent, sentence);
        }
        let votes = votes(o, *group);
        if !odd.contains_key(group) && !votes.is_empty() {
            let sentence =
                "replicas have applied the same entries to different ends, and no majority says which is right";
            plan.wait(store, None, WaitReason::ReplicaInconsistent, sentence.into());
        }
        let able = able(c, o, *group, seen, &votes);
        match able.iter().map(|fence| held_back(c, o, fence)).position(|held| held.is_none()) {
            Some(n) => plan.fences.extend(able.into_iter().nth(n)),
            None => {
                for fence in able {
                    if let Some(sentence) = held_back(c, o, &fence) {
                        plan.wait(store, Some(fence.node), WaitReason::ReplicaInconsistent, sentence);
                    }
                }
            }
        }
    }
}

/// Why a replica is not fenced now although it may be. Whoever has the disruption grant may be out at any moment, so the
/// group would live on what is left without both; the grant's own node is out anyway. And a binary that applies otherwise
/// than the others would be given one new replica after the other.
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
            "replica {replica} on node {node} took the place of one that was fenced within the hour, and is odd too"
        )
    })
}

/// The replicas that may be fenced. Each contradicts a majority of the voters, not merely of those that were heard, and one
/// that runs and is caught up: what is left is then the group's data, and enough to go on. In the system group the replica
/// is its node, which only a person replaces.
fn able(
    c: &Catalogue,
    o: &ClusterObservation,
    group: GroupId,
    seen: &GroupObservation,
    votes: &BTreeMap<u64, Votes>,
) -> Vec<Fence> {
    let Some(record) = c.groups.get(&group) else { return Vec::new() };
    let removing = c.stores.get(&record.store).is_none_or(|s| s.state == StoreState::Removing);
    if removing || seen.joint() || !seen.quorum {
        return Vec::new();
    }
    let voters = seen.voters();
    // One at a time, a voter that is still to be replaced counted. A learner costs nobody a vote, and a new replica that
    // is odd must not keep the old one's place open.
    let out = |r: &ReplicaId| {
        let leaves = record.replicas.get(r).is_none_or(|x| x.state == ReplicaState::Leaving);
        leaves || seen.hosts.get(r).is_none_or(|n| o.fenced(group, *r, *n) || o.tombstoned(group, *r, *n))
    };
    let (voter_out, learner_out) = (voters.iter().any(out), seen.learners().iter().any(out));
    let whole = |who: &BTreeSet<ReplicaId>| who.intersection(&voters).filter(|r| o.close(group, **r)).count();
    let mut able = Vec::new();
    for (index, votes) in votes {
        let most = votes.iter().find(|(_, who)| whole(who) * 2 > voters.len());
        let Some((majority, right)) = most else { continue };
        for (digest, who) in votes {
            let odd = who.iter().filter(|r| {
                let taken = if voters.contains(r) { voter_out } else { learner_out };
                !right.contains(r) && seen.hosts.contains_key(r) && !taken
            });
            for (replica, node) in odd.filter_map(|r| Some((*r, host(o, group, *r)?))) {
                let (digest, majority) = (Digest(*digest), Digest(*majority));
                able.push(Fence { group, replica, node, index: *index, digest, majority });
            }
        }
    }
    able
}

fn host(o: &ClusterObservation, group: GroupId, replica: ReplicaId) -> Option<NodeId> {
    o.nodes.iter().find(|(_, n)| n.replicas.contains_key(&(group, replica))).map(|(id, _)| *id)
}
