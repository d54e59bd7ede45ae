//! [`Digests`]: keeps recent digests of a replica by log index, so that a divergence claim about an older index can
//! still be checked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::{ids::Digest, plan::Lineage};

/// Number of applied batches whose digests are kept. At one write per millisecond, fewer batches are applied between a
/// report and a claim about the report.
const KEPT: usize = 256;
/// Distance of marks: every replica takes a digest at every multiple of this index. Under load, two replicas rarely
/// report the same index otherwise.
pub(crate) const MARK_EVERY: u64 = 256;
/// Number of kept marks, and number of reported marks. Two reported marks suffice for a slightly lagging replica to
/// share a mark with the other replicas.
const MARKS_KEPT: usize = 16;
const MARKS_TOLD: usize = 2;

#[derive(Default)]
struct Kept {
    pauses: VecDeque<(u64, Digest)>,
    marks: VecDeque<(u64, Digest)>,
    copied_from: Option<Lineage>,
}

impl Kept {
    fn put(&mut self, index: u64, digest: Digest) {
        let push = |kept: &mut VecDeque<_>, most| {
            if kept.len() == most {
                kept.pop_front();
            }
            kept.push_back((index, digest));
        };
        push(&mut self.pauses, KEPT);
        if index > 0 && index.is_multiple_of(MARK_EVERY) {
            push(&mut self.marks, MARKS_KEPT);
        }
    }
}

/// The newest digests and their indexes. Cheap to clone: all clones share the digests.
#[derive(Clone, Default)]
pub struct Digests(Arc<Mutex<Kept>>);

impl Digests {
    /// Starts with the digest and the origin of the opened replica.
    #[must_use]
    pub fn new(index: u64, digest: Digest, copied_from: Option<Lineage>) -> Self {
        let this = Self::default();
        this.begin_anew(index, digest, copied_from);
        this
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the digest after applying the entries up to `index`.
    pub fn put(&self, index: u64, digest: Digest) {
        self.lock().put(index, digest);
    }

    /// Drops all digests and starts with the digest of a state installed from another replica.
    pub(crate) fn begin_anew(&self, index: u64, digest: Digest, copied_from: Option<Lineage>) {
        let mut kept = self.lock();
        *kept = Kept { copied_from, ..Kept::default() };
        kept.put(index, digest);
    }

    /// Returns the newest index and its digest.
    #[must_use]
    pub fn last(&self) -> (u64, Digest) {
        self.lock().pauses.back().copied().unwrap_or_default()
    }

    /// Returns the replica from which the digests are inherited, or `None` when this replica applied the whole log.
    #[must_use]
    pub fn copied_from(&self) -> Option<Lineage> {
        self.lock().copied_from
    }

    /// Returns the newest marks in ascending order of index.
    #[must_use]
    pub fn marks(&self) -> Vec<(u64, Digest)> {
        let kept = self.lock();
        let skipped = kept.marks.len().saturating_sub(MARKS_TOLD);
        kept.marks.iter().skip(skipped).copied().collect()
    }

    /// Returns the digest at `index`, or `None` when the digest is not kept.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<Digest> {
        let kept = self.lock();
        let newest_first = kept.pauses.iter().rev().chain(kept.marks.iter().rev());
        newest_first.into_iter().find(|(i, _)| *i == index).map(|(_, digest)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::ids::ReplicaId;

    #[test]
    fn the_last_ones_are_known_and_no_more() {
        let digests = Digests::new(0, Digest([7; 32]), None);
        let of = |n: u64| Digest([u8::try_from(n % 251).unwrap_or_default(); 32]);
        let end = 2 * KEPT as u64 + 7;
        (1..=end).for_each(|n| digests.put(n, of(n)));
        assert_eq!(digests.last(), (end, of(end)));
        assert_eq!(digests.at(end - 1), Some(of(end - 1)));
        assert_eq!(digests.at(end - KEPT as u64 + 1), Some(of(end - KEPT as u64 + 1)));
        assert_eq!((digests.at(end - KEPT as u64), digests.at(end + 1)), (None, None));
    }

    #[test]
    fn marks_are_known_longer_and_go_with_the_state_that_they_are_of() {
        let digests = Digests::default();
        let of = |n: u64| Digest([u8::try_from(n % 251).unwrap_or_default(); 32]);
        let newest = MARK_EVERY * (MARKS_KEPT as u64 + 3);
        (1..=newest + 9).for_each(|n| digests.put(n, of(n)));
        let oldest = newest - MARK_EVERY * (MARKS_KEPT as u64 - 1);
        assert_eq!((digests.at(oldest), digests.at(oldest - MARK_EVERY)), (Some(of(oldest)), None));
        let before = newest - MARK_EVERY;
        assert_eq!(digests.marks(), [(before, of(before)), (newest, of(newest))]);
        let from = Lineage { source: ReplicaId::new(7), index: newest + 20 };
        digests.begin_anew(newest + 20, of(1), Some(from));
        assert_eq!(digests.copied_from(), Some(from));
        assert_eq!((digests.last(), digests.marks()), ((newest + 20, of(1)), Vec::new()));
        assert_eq!((digests.at(newest), digests.at(newest + 9)), (None, None));
    }
}
