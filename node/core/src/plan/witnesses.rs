//! Witnesses: counts how many replicas reached a digest independently of each other.
//!
//! A replica that installed the state of another replica inherits the digest of the source. If the source was divergent
//! at that moment, the copy is divergent in the same way, so source and copy are a single witness. The lineage of a copy
//! is confirmed once the copy agrees with a majority of independent voters at an index after the install: the copied
//! state was then right, and a later divergence of the source is no longer inherited.

use super::observation::{ClusterObservation, Lineage};
use crate::ids::{Digest, GroupId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of a group at the same index, each with the reporting replicas.
pub(super) type Votes = BTreeMap<[u8; 32], BTreeSet<ReplicaId>>;

/// Longest chain of copies that is followed to its origin. A longer chain ends at an arbitrary copy, which only makes
/// the count smaller for copies of this chain.
const CHAIN_MAX: usize = 64;

/// Returns the number of independent witnesses among `replicas`: replicas with the same origin count once.
pub(super) fn independent<'a>(
    o: &ClusterObservation,
    group: GroupId,
    replicas: impl IntoIterator<Item = &'a ReplicaId>,
) -> usize {
    replicas.into_iter().map(|r| origin(o, group, *r)).collect::<BTreeSet<_>>().len()
}

/// Follows the unconfirmed lineages of a replica to the replica whose state was not copied.
fn origin(o: &ClusterObservation, group: GroupId, replica: ReplicaId) -> ReplicaId {
    let mut at = replica;
    for _ in 0..CHAIN_MAX {
        match lineage(o, group, at).filter(|l| o.confirmed.get(&(group, at)) != Some(l)) {
            Some(lineage) => at = lineage.source,
            None => break,
        }
    }
    at
}

fn lineage(o: &ClusterObservation, group: GroupId, replica: ReplicaId) -> Option<Lineage> {
    o.nodes.values().find_map(|n| n.replicas.get(&(group, replica))).and_then(|r| r.copied_from)
}

/// Returns the digests reported for a group by index, each with the reporting replicas.
///
/// A replica reports the digest at the applied index, and digests at recent indexes that all replicas have in common
/// ([`ReplicaObservation::marks`](super::ReplicaObservation::marks)). Digests of the same index are comparable even if
/// the replicas reached the index at different times.
pub(super) fn reported(o: &ClusterObservation, group: GroupId) -> BTreeMap<u64, Votes> {
    let mut by_index: BTreeMap<u64, Votes> = BTreeMap::new();
    for node in o.nodes.values().filter(|n| n.reachable) {
        let range = (group, ReplicaId::new(0))..=(group, ReplicaId::new(u64::MAX));
        for ((_, replica), report) in node.replicas.range(range) {
            let now = (report.applied, report.digest);
            // An empty digest is no evidence: the replica has applied no command yet.
            let said = report.marks.iter().copied().chain([now]).filter(|(i, d)| *i > 0 && *d != Digest::default());
            for (index, digest) in said {
                by_index.entry(index).or_default().entry(digest.0).or_default().insert(*replica);
            }
        }
    }
    by_index
}

impl ClusterObservation {
    /// Carries confirmed lineages over from the previous observation, and confirms the lineages of replicas that agree
    /// with a majority of independent voters.
    pub(super) fn settle_lineages(&mut self, previous: &Self) {
        let reports = self.nodes.values().filter(|n| n.reachable).flat_map(|n| &n.replicas);
        let copies: BTreeMap<_, _> = reports.filter_map(|(key, r)| r.copied_from.map(|from| (*key, from))).collect();
        let kept = previous.confirmed.iter().filter(|(key, from)| copies.get(*key).is_none_or(|now| now == *from));
        self.confirmed = kept.map(|(key, from)| (*key, *from)).collect();
        let groups: BTreeSet<GroupId> = copies.keys().map(|(group, _)| *group).collect();
        for group in groups {
            for replicas in reported(self, group).values().flat_map(BTreeMap::values) {
                if self.has_majority(group, replicas) {
                    let keys = replicas.iter().map(|replica| (group, *replica));
                    self.confirmed.extend(keys.filter_map(|key| copies.get(&key).map(|from| (key, *from))));
                }
            }
        }
    }

    /// True if a majority of independent voters agrees at an index from `index` on.
    pub(super) fn decided(&self, group: GroupId, index: u64) -> bool {
        let votes = reported(self, group);
        votes.range(index..).flat_map(|(_, votes)| votes.values()).any(|who| self.has_majority(group, who))
    }

    /// True if the voters among `who` are more than half of all voters of the group, counted as independent witnesses.
    pub(super) fn has_majority(&self, group: GroupId, who: &BTreeSet<ReplicaId>) -> bool {
        let Some(observed) = self.groups.get(&group) else { return false };
        let voters = observed.voters();
        independent(self, group, who.intersection(&voters)) * 2 > voters.len()
    }
}
