//! Divergence: detection and fencing of replicas whose state contradicts their group.
//!
//! All replicas of a group must have the same digest after applying the same log. A replica whose digest differs from
//! the majority's is divergent: the data is wrong, even if the log is complete. The planner requests a fence, and then
//! replaces the fenced replica like a lost replica.

use super::{
    action::{Fence, Plan},
    observation::{ClusterObservation, GroupObservation},
    wait_reason::WaitReason,
    witnesses::{Votes, independent, reported},
};
use crate::{
    catalogue::{Catalogue, Group, Kind, NodeState, Replica, ReplicaState, StoreState},
    ids::{Digest, GroupId, NodeId, ReplicaId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Time for which replicas must contradict each other before the catalogue records the contradiction, microseconds. A
/// majority reporting at another index in a poll reports at the same index within the next polls.
const RECORD_AFTER_US: u64 = 2_000_000;

/// Reports divergent replicas, and plans at most a single fence per group. Without a majority no replica is fenced.
///
/// Groups in `skipped` are passed over. Groups of which the pass said something are added to `busy`.
pub(super) fn plan(
    c: &Catalogue,
    o: &ClusterObservation,
    skipped: &BTreeSet<GroupId>,
    busy: &mut BTreeSet<GroupId>,
    plan: &mut Plan,
) {
    let divergent = divergent(o);
    for (group, observed) in o.groups.iter().filter(|(id, _)| !skipped.contains(id)) {
        let before = plan.len();
        record(c, o, *group, observed, plan);
        let store = c.groups.get(group).map(|g| g.store);
        for replica in divergent.get(group).into_iter().flatten() {
            let Some(node) = host(o, *group, *replica) else { continue };
            let sentence = format!(
                "replica {replica} on node {node} reached a different state than the majority after applying the same log"
            );
            plan.wait(store, Some(node), WaitReason::ReplicaInconsistent, sentence);
        }
        let votes = contradictions(o, *group);
        if !divergent.contains_key(group) && !votes.is_empty() {
            let sentence = "replicas reached different states after applying the same log, and no majority agrees; \
                            keep all volumes";
            plan.wait(store, None, WaitReason::ReplicaInconsistent, sentence.into());
        }
        fence_one(c, o, permitted(c, o, *group, observed, &votes), plan);
        if plan.len() > before {
            busy.insert(*group);
        }
    }
}

/// Plans the first fence of a group without a reason to wait. If all fences must wait, reports the reason of each.
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

/// Returns the reason why a permitted fence must wait; `None` if the fence need not wait.
///
/// - A fence waits while the disruption grant allows another node to be taken down: the granted node may go down at any
///   moment, and the group would then lack two replicas. A replica on the granted node itself may be fenced, because
///   the guard never counted the replicas of the granted node.
/// - A fence waits for an hour after another replica of the group was fenced on the same node. A node whose binary
///   applies the log differently would otherwise receive new replicas again and again.
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
            "replica {replica} on node {node} is not fenced: an earlier replica of the group was fenced on the node \
             within the hour"
        )
    })
}

/// Returns the permitted fences of a group.
///
/// - The fenced replica contradicts a majority of all voters, not merely of the voters with an answer. Voters that
///   copied their state from each other count once.
/// - All replicas of the majority run and are close to the leader, so the group keeps all data and a quorum when the
///   replica is fenced.
/// - At most one voter and one learner are fenced at a time.
/// - The system group permits no fence, because each replica is a node, and only a person replaces a node.
fn permitted(
    c: &Catalogue,
    o: &ClusterObservation,
    group: GroupId,
    observed: &GroupObservation,
    votes: &BTreeMap<u64, Votes>,
) -> Vec<Fence> {
    let Some(record) = c.groups.get(&group) else { return Vec::new() };
    let removing = c.stores.get(&record.store).is_none_or(|s| s.state == StoreState::Removing);
    if removing || observed.changing() || !observed.quorum {
        return Vec::new();
    }
    let voters = observed.voters();
    // A fenced or leaving voter, not yet replaced, blocks the next fence of a voter. Learners count separately, because
    // a learner has no vote, and a divergent replacement must not prevent the replacement of the old replica.
    let out = |r: &ReplicaId| {
        let leaves = record.replicas.get(r).is_none_or(|x| x.state == ReplicaState::Leaving);
        leaves || observed.hosts.get(r).is_none_or(|n| o.fenced(group, *r, *n) || o.tombstoned(group, *r, *n))
    };
    // Stores declare odd numbers, so an even number shows that a lost voter has left before the replacement votes.
    let missing = voters.len().is_multiple_of(2);
    let (voter_out, learner_out) = (missing || voters.iter().any(out), observed.learners().iter().any(out));
    let whole =
        |who: &BTreeSet<ReplicaId>| independent(o, group, who.intersection(&voters).filter(|r| o.close(group, **r)));
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

/// Records in the catalogue a contradiction of replicas of a group without a majority, and later the end
/// of the contradiction. While the record stands, no replica of the group is copied: the copy might be of
/// the divergent replica.
fn record(c: &Catalogue, o: &ClusterObservation, group: GroupId, observed: &GroupObservation, plan: &mut Plan) {
    let Some(record) = c.groups.get(&group) else { return };
    match (record.contradicted, o.contradictions.get(&group)) {
        (Some(index), _) => {
            if o.decided(group, index) || all_agree(c, o, group, observed, record, index) {
                plan.propose(Kind::Contradicted { group, index: None });
            }
        }
        (None, Some(seen)) if o.now_us.saturating_sub(seen.since_us) >= RECORD_AFTER_US => {
            plan.propose(Kind::Contradicted { group, index: Some(seen.index) });
        }
        (None, _) => {}
    }
}

/// True if all voters agree at an index from `index` on. Voters that a person or a fence has given up do not count.
fn all_agree(
    c: &Catalogue,
    o: &ClusterObservation,
    group: GroupId,
    observed: &GroupObservation,
    record: &Group,
    index: u64,
) -> bool {
    let counts =
        |replica: &ReplicaId| record.replicas.get(replica).is_some_and(|r| !given_up(c, o, group, *replica, r));
    let voters: BTreeSet<ReplicaId> = observed.voters().into_iter().filter(counts).collect();
    let agree = |votes: &Votes| votes.len() == 1 && votes.values().all(|who| who.is_superset(&voters));
    !voters.is_empty() && reported(o, group).range(index..).any(|(_, votes)| agree(votes))
}

/// True if nobody counts on the replica any more: the replica is fenced or leaves, or the node is replaced or removed.
fn given_up(c: &Catalogue, o: &ClusterObservation, group: GroupId, replica: ReplicaId, r: &Replica) -> bool {
    let lost = match c.nodes.get(&r.node).map(|n| n.state) {
        Some(NodeState::Member | NodeState::Draining) => false,
        Some(NodeState::Replacing { .. } | NodeState::Removed { .. }) | None => true,
    };
    lost || r.state == ReplicaState::Leaving || o.fenced(group, replica, r.node)
}

/// True if no replica of the group may be copied or replaced: replicas contradict each other, and no majority decides
/// which of them are right.
pub(super) fn frozen(o: &ClusterObservation, group: GroupId, record: &Group) -> bool {
    record.contradicted.is_some() || o.contradictions.contains_key(&group)
}

/// Returns the lowest index at which replicas of the group disagree.
pub(super) fn first_contradiction(o: &ClusterObservation, group: GroupId) -> Option<u64> {
    contradictions(o, group).keys().next().copied()
}

/// Returns the replicas of each group whose digest contradicts more than half of the independent witnesses of the same
/// index. Groups without such replicas are absent.
pub(super) fn divergent(o: &ClusterObservation) -> BTreeMap<GroupId, BTreeSet<ReplicaId>> {
    let of = |group: &GroupId| (*group, divergent_in(o, *group));
    let found = |(_, replicas): &(_, BTreeSet<ReplicaId>)| !replicas.is_empty();
    match &o.disagreeing {
        Some(disagreeing) => disagreeing.iter().filter(|id| o.groups.contains_key(id)).map(of).filter(found).collect(),
        None => o.groups.keys().map(of).filter(found).collect(),
    }
}

/// Returns the divergent replicas of a group, see [`divergent`].
pub(super) fn divergent_in(o: &ClusterObservation, group: GroupId) -> BTreeSet<ReplicaId> {
    let mut divergent = BTreeSet::new();
    for votes in contradictions(o, group).values() {
        let all: usize = votes.values().map(|who| independent(o, group, who)).sum();
        // Without a majority the correct state is unknown, and no replica counts as divergent.
        if let Some(most) = votes.values().find(|who| independent(o, group, *who) * 2 > all) {
            divergent.extend(votes.values().filter(|v| *v != most).flatten());
        }
    }
    divergent
}

/// True if replicas of a group report different digests at the same index.
pub(super) fn disagree(o: &ClusterObservation, group: GroupId) -> bool {
    reported(o, group).values().any(|votes| votes.len() > 1)
}

/// Returns the indexes at which replicas of a group disagree, each with the reported digests.
fn contradictions(o: &ClusterObservation, group: GroupId) -> BTreeMap<u64, Votes> {
    if o.disagreeing.as_ref().is_some_and(|disagreeing| !disagreeing.contains(&group)) {
        return BTreeMap::new();
    }
    let mut by_index = reported(o, group);
    by_index.retain(|_, votes| votes.len() > 1);
    by_index
}

fn host(o: &ClusterObservation, group: GroupId, replica: ReplicaId) -> Option<NodeId> {
    o.nodes.iter().find(|(_, n)| n.replicas.contains_key(&(group, replica))).map(|(id, _)| *id)
}
