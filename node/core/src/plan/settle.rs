//! Time in observations: carries over from one pass to the next since when a replica has been close to its leader, a node
//! silent and a fence in force.

use super::{
    divergence,
    observation::{ClusterObservation, CommitMark},
};

/// How long after a fence nobody of the same group is fenced on the same node again, microseconds.
pub const FENCE_AGAIN_US: u64 = 3_600_000_000;

impl ClusterObservation {
    /// Carries over since when replicas have been close and nodes silent, and forgets those that no longer are.
    pub fn settle(&mut self, previous: &Self) {
        for (node, seen) in self.nodes.iter_mut().filter(|(_, n)| !n.reachable) {
            let since = previous.silent_since_us.get(node).copied().unwrap_or(self.now_us);
            self.silent_since_us.insert(*node, since);
            // Fenced is fenced for ever: its replacement does not turn back because its node is away for a moment.
            if let Some(before) = previous.nodes.get(node) {
                seen.fenced.clone_from(&before.fenced);
            }
        }
        let now = self.now_us;
        let lately = previous.fenced_since_us.iter().filter(|(_, since)| now.saturating_sub(**since) < FENCE_AGAIN_US);
        self.fenced_since_us = lately.map(|(key, since)| (*key, *since)).collect();
        for (node, seen) in &self.nodes {
            for (group, _) in &seen.fenced {
                self.fenced_since_us.entry((*group, *node)).or_insert(now);
            }
        }
        for (group, seen) in &self.groups {
            let mark = previous.marks.get(group).map_or_else(
                || CommitMark::first(self.now_us, seen.committed),
                |mark| mark.next(self.now_us, seen.committed),
            );
            self.marks.insert(*group, mark);
            for (replica, node) in &seen.hosts {
                let matches = seen.matched.get(replica).is_some_and(|m| *m >= mark.before && *m > 0);
                let close = *replica == seen.leader || matches;
                if close && self.runs(*node, *group, *replica) {
                    let key = (*group, *replica);
                    let since = previous.close_since_us.get(&key).copied().unwrap_or(self.now_us);
                    self.close_since_us.insert(key, since);
                }
            }
        }
        for (group, odd) in divergence::odd_ones(self) {
            for replica in odd {
                self.close_since_us.remove(&(group, replica));
            }
        }
    }
}
