//! [`FullReplicas`]: the replicas refusing entries because of nearly full disks, as known to the leader.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The followers of a group whose last answer was a refusal of entries for lack of room. Clones share the set.
///
/// The leader sends refused entries again and again, so a replica with room leaves the set by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct FullReplicas(Arc<Mutex<BTreeSet<u64>>>);

impl FullReplicas {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a replica has refused entries for lack of room.
    pub(super) fn refused(&self, replica: u64) {
        self.lock().insert(replica);
    }

    /// Records that a replica has accepted entries.
    pub(super) fn accepted(&self, replica: u64) {
        self.lock().remove(&replica);
    }

    /// Returns true if no replica is known to be full.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns true if a majority of each set of voters takes entries.
    pub(super) fn leave_a_majority(&self, configs: &[BTreeSet<u64>]) -> bool {
        let full = self.lock();
        configs.iter().all(|voters| voters.difference(&full).count() * 2 > voters.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_each_set_of_voters_must_take_entries() {
        let full = FullReplicas::default();
        let three = [BTreeSet::from([1, 2, 3])];
        let joint = [BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 3, 4])];
        assert!(full.is_empty() && full.leave_a_majority(&joint));
        full.refused(3);
        assert!(full.leave_a_majority(&three) && full.leave_a_majority(&joint));
        full.refused(4);
        assert!(full.leave_a_majority(&three), "replica 4 does not vote");
        assert!(!full.leave_a_majority(&joint), "replica 1 alone is no majority of the new voters");
        full.accepted(4);
        full.refused(2);
        assert!(!full.leave_a_majority(&three));
        full.accepted(3);
        assert!(full.leave_a_majority(&three));
    }
}
