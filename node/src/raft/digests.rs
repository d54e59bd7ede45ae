//! What a replica had at the indexes where it last paused. The claim that it is odd speaks of an index at which it was
//! when it was asked, and by now it may have applied more.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::ids::Digest;

/// More than are applied between a report and the claim that follows from it, at a write a millisecond.
const KEPT: usize = 256;

/// The last digests and the indexes they belong to. Cheap to clone: all clones are the same.
#[derive(Clone, Default)]
pub struct Digests(Arc<Mutex<VecDeque<(u64, Digest)>>>);

impl Digests {
    /// Begins with what was there when the replica was opened.
    #[must_use]
    pub fn new(index: u64, digest: Digest) -> Self {
        let this = Self::default();
        this.put(index, digest);
        this
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica has applied up to `index`.
    pub fn put(&self, index: u64, digest: Digest) {
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((index, digest));
    }

    /// The newest index and the digest there.
    #[must_use]
    pub fn last(&self) -> (u64, Digest) {
        self.lock().back().copied().unwrap_or_default()
    }

    /// The digest at an index; none if it is not known, or not any more.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<Digest> {
        self.lock().iter().rev().find(|(i, _)| *i == index).map(|(_, digest)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_and_no_more() {
        let digests = Digests::new(0, Digest([7; 32]));
        let of = |n: u64| Digest([u8::try_from(n % 251).unwrap_or_default(); 32]);
        let end = 2 * KEPT as u64;
        (1..=end).for_each(|n| digests.put(n, of(n)));
        assert_eq!(digests.last(), (end, of(end)));
        assert_eq!(digests.at(end - 1), Some(of(end - 1)));
        assert_eq!(digests.at(end - KEPT as u64 + 1), Some(of(end - KEPT as u64 + 1)));
        assert_eq!((digests.at(end - KEPT as u64), digests.at(end + 1)), (None, None));
    }
}
