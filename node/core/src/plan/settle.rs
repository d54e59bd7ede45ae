//! Timers of observations. Six timers survive a pass: close to the leader since, silent since, contradicted since,
//! fenced within the hour, broken within the hour, and granted since. Confirmed lineages survive as well. A new
//! coordinator starts from zero.

use super::{
    divergence::{disagree, divergent, first_contradiction},
    observation::{ClusterObservation, CommitMark, Contradiction, ObservedGrant},
};
use crate::{catalogue::Catalogue, ids::GroupId};
use std::collections::BTreeSet;

/// Time after a fence during which no other replica of the same group is fenced on the same node, microseconds.
pub(super) const FENCE_AGAIN_US: u64 = 3_600_000_000;
/// Time after a replica was observed as broken during which no later replica of the store on the same
/// node counts as broken, microseconds.
pub(super) const BROKEN_AGAIN_US: u64 = 3_600_000_000;
/// Time after the last observation of a contradiction until the contradiction is forgotten, microseconds. A busy group
/// passes several indexes that all replicas compare in this time.
const CONTRADICTION_US: u64 = 10_000_000;

impl ClusterObservation {
    /// Carries the running timers over from the previous observation.
    pub fn settle(&mut self, catalogue: &Catalogue, previous: &Self) {
        self.settle_disagreement(previous);
        self.settle_silence(previous);
        self.settle_fences(previous);
        self.settle_broken(catalogue, previous);
        self.settle_grant(catalogue, previous);
        self.settle_lineages(previous);
        self.settle_contradictions(previous);
        self.settle_closeness(previous);
    }

    /// Compares the digests of the groups that changed. Without a change the answer is the answer of the previous observation.
    /// Groups without a leader are left out, because nothing is decided about these groups.
    fn settle_disagreement(&mut self, previous: &Self) {
        let answers = |o: &Self| o.nodes.iter().map(|(node, n)| (*node, n.reachable)).collect::<Vec<_>>();
        if previous.disagreeing.is_none() || answers(self) != answers(previous) {
            self.changed = None;
        }
        let disagreeing: BTreeSet<GroupId> = match (&self.changed, &previous.disagreeing) {
            (Some(changed), Some(before)) => {
                let kept = before.difference(changed).copied();
                let all = kept.chain(changed.iter().copied().filter(|group| disagree(self, *group)));
                all.filter(|group| self.groups.contains_key(group)).collect()
            }
            _ => self.groups.keys().copied().filter(|group| disagree(self, *group)).collect(),
        };
        self.disagreeing = Some(disagreeing);
    }

    fn settle_silence(&mut self, previous: &Self) {
        for (node, observed) in self.nodes.iter_mut().filter(|(_, n)| !n.reachable) {
            let since = previous.silent_since_us.get(node).copied().unwrap_or(self.now_us);
            self.silent_since_us.insert(*node, since);
            // The replacement of a fenced or broken replica continues while the replica's node is away.
            if let Some(before) = previous.nodes.get(node) {
                observed.fenced.clone_from(&before.fenced);
                observed.broken.clone_from(&before.broken);
            }
        }
    }

    fn settle_fences(&mut self, previous: &Self) {
        let now = self.now_us;
        let lately = previous.fenced_since_us.iter().filter(|(_, since)| now.saturating_sub(**since) < FENCE_AGAIN_US);
        self.fenced_since_us = lately.map(|(key, since)| (*key, *since)).collect();
        for (node, observed) in &self.nodes {
            for (group, _) in &observed.fenced {
                self.fenced_since_us.entry((*group, *node)).or_insert(now);
            }
        }
    }

    fn settle_broken(&mut self, catalogue: &Catalogue, previous: &Self) {
        let now = self.now_us;
        let lately = previous.broken_since_us.iter().filter(|(_, (_, t))| now.saturating_sub(*t) < BROKEN_AGAIN_US);
        self.broken_since_us = lately.map(|(key, first)| (*key, *first)).collect();
        for (node, observed) in &self.nodes {
            for (group, replica) in &observed.broken {
                let Some(store) = catalogue.groups.get(group).map(|g| g.store) else { continue };
                self.broken_since_us.entry((store, *node)).or_insert(((*group, *replica), now));
            }
        }
    }

    fn settle_grant(&mut self, catalogue: &Catalogue, previous: &Self) {
        let Some(grant) = &catalogue.grant else { return };
        let begin = || ObservedGrant {
            grant: grant.clone(),
            since_us: self.now_us,
            remaining_us: grant.until_us.saturating_sub(self.now_us.max(catalogue.clock_us)),
        };
        let before = previous.grant.clone().filter(|before| before.grant == *grant);
        self.grant = Some(before.unwrap_or_else(begin));
    }

    fn settle_contradictions(&mut self, previous: &Self) {
        let now_us = self.now_us;
        let recent = |c: &&Contradiction| now_us.saturating_sub(c.seen_us) < CONTRADICTION_US;
        let disagreeing = self.disagreeing.iter().flatten();
        let groups: BTreeSet<GroupId> = disagreeing.chain(previous.contradictions.keys()).copied().collect();
        for group in groups {
            let before = previous.contradictions.get(&group).filter(recent).copied();
            let seen = first_contradiction(self, group);
            let since_us = before.map_or(now_us, |c| c.since_us);
            let contradiction = match (seen, before) {
                (None, before) => before,
                (Some(index), None) => Some(Contradiction { index, since_us, seen_us: now_us }),
                (Some(index), Some(c)) => Some(Contradiction { index: index.min(c.index), since_us, seen_us: now_us }),
            };
            if let Some(c) = contradiction.filter(|c| !self.decided(group, c.index)) {
                self.contradictions.insert(group, c);
            }
        }
    }

    fn settle_closeness(&mut self, previous: &Self) {
        for (group, observed) in &self.groups {
            let mark = previous.marks.get(group).map_or_else(
                || CommitMark::first(self.now_us, observed.committed),
                |mark| mark.next(self.now_us, observed.committed),
            );
            self.marks.insert(*group, mark);
            for (replica, node) in &observed.hosts {
                let matches = observed.matched.get(replica).is_some_and(|m| *m >= mark.before && *m > 0);
                let close = *replica == observed.leader || matches;
                if close && self.runs(*node, *group, *replica) {
                    let key = (*group, *replica);
                    let since = previous.close_since_us.get(&key).copied().unwrap_or(self.now_us);
                    self.close_since_us.insert(key, since);
                }
            }
        }
        for (group, replicas) in divergent(self) {
            for replica in replicas {
                self.close_since_us.remove(&(group, replica));
            }
        }
    }
}
