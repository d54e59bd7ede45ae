//! Starts of a node, as shown in handshakes: the evidence by which peers notice that a disk went back to an earlier state.
//!
//! Each start of a node has a random nonce and the place in the log where the start began; the disk keeps both. A peer
//! keeps the [`Seen`] state of each disk: the last nonce and the highest synced place. A disk that continues from this
//! state lists the nonce, and began every later start at or above the place ([`Seen::is_continued_by`]). Otherwise the
//! disk has lost synced writes:
//!
//! - A restored volume lacks the nonces of the starts after the copy, or began its last start below the place.
//! - A cloned volume lacks the nonce of the original, or the original lacks the nonce of the clone, as soon as
//!   a peer has met both.
//!
//! The place counts the synced writes of the whole log, whatever their kind. A follower whose uncommitted entries are
//! truncated by a new leader writes the truncation, so the place rises. Retired or removed replicas, refills and purges
//! are writes as well. Only the loss of synced writes lowers the place.

use crate::log::floor::Floor;
use taffrail_proto::peer::{Identity, LogFloor, Reverted};
use taffrail_runtime::planted_defect::is_planted;

/// Maximum number of starts in the list of a disk; older starts are dropped.
pub const STARTS_MAX: usize = 1024;

/// A start of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Random number of the start.
    pub nonce: u64,
    /// Last synced place of the log at the start.
    pub floor: Floor,
}

/// Latest state of a disk that a peer has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Nonce of the last start.
    pub nonce: u64,
    /// Highest synced place of the log.
    pub floor: Floor,
}

impl Seen {
    /// Returns the state shown by an identity; `None` for a node without a recorded start.
    #[must_use]
    pub fn of(identity: &Identity) -> Option<Self> {
        let last = starts_of(identity).last().copied()?;
        let now = identity.floor.as_ref().map_or(last.floor, from_wire);
        Some(Self { nonce: last.nonce, floor: now.max(last.floor) })
    }

    /// True if a disk with this list of starts continues from the seen state. The list is in the order of the starts.
    ///
    /// The present place of the log is not compared: a node that lost writes may have written more since. A delayed
    /// handshake of the same start may show a lower place, and proves nothing.
    #[must_use]
    pub fn is_continued_by(&self, starts: &[Start]) -> bool {
        if is_planted("trusted-disks") {
            return true;
        }
        let later = match starts.iter().position(|start| start.nonce == self.nonce) {
            Some(at) => starts.get(at + 1..),
            // A full list may have dropped the start; all listed starts are later then.
            None if starts.len() >= STARTS_MAX => Some(starts),
            None => None,
        };
        later.is_some_and(|later| later.iter().all(|start| start.floor >= self.floor))
    }

    /// Encodes the state as evidence.
    #[must_use]
    pub fn to_wire(&self) -> Reverted {
        Reverted { nonce: self.nonce, floor: Some(to_wire(self.floor)) }
    }

    /// Decodes evidence.
    #[must_use]
    pub fn from_wire(evidence: &Reverted) -> Self {
        Self { nonce: evidence.nonce, floor: evidence.floor.as_ref().map(from_wire).unwrap_or_default() }
    }
}

/// Returns the starts listed by an identity. A start without a place counts as a start at the lowest place.
#[must_use]
pub fn starts_of(identity: &Identity) -> Vec<Start> {
    let floors = identity.start_floors.iter().map(from_wire).chain(std::iter::repeat(Floor::default()));
    identity.nonces.iter().zip(floors).map(|(nonce, floor)| Start { nonce: *nonce, floor }).collect()
}

/// Encodes a place of the log.
#[must_use]
pub fn to_wire(floor: Floor) -> LogFloor {
    LogFloor { segment: floor.segment, batch: floor.batch }
}

fn from_wire(floor: &LogFloor) -> Floor {
    Floor { segment: floor.segment, batch: floor.batch }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(batch: u64) -> Floor {
        Floor { segment: 0, batch }
    }

    fn starts(list: &[(u64, u64)]) -> Vec<Start> {
        list.iter().map(|(nonce, batch)| Start { nonce: *nonce, floor: at(*batch) }).collect()
    }

    /// True if the list continues from the start with nonce 7 and the place 100.
    fn continues(list: &[(u64, u64)]) -> bool {
        Seen { nonce: 7, floor: at(100) }.is_continued_by(&starts(list))
    }

    #[test]
    fn the_same_start_and_later_starts_at_or_above_the_place_continue() {
        assert!(continues(&[(7, 90)]), "the same start, whatever its present place");
        assert!(continues(&[(6, 10), (7, 90), (8, 100)]), "a restart without further writes");
        assert!(continues(&[(7, 90), (8, 150), (9, 150)]));
    }

    #[test]
    fn a_restored_disk_lacks_the_nonce_or_begins_below_the_place() {
        assert!(!continues(&[]), "no start at all");
        assert!(!continues(&[(6, 10), (8, 20)]), "copied before the start");
        assert!(!continues(&[(7, 90), (8, 99)]), "copied while the start was running");
        assert!(!continues(&[(7, 90), (8, 99), (9, 500)]), "and written to in isolation before a further start");
    }

    #[test]
    fn of_two_clones_a_peer_accepts_only_the_one_that_it_met_last() {
        let (original, clone) = (starts(&[(6, 10), (7, 90)]), starts(&[(6, 10), (8, 90)]));
        let met = |list: &[Start]| list.last().map(|last| Seen { nonce: last.nonce, floor: last.floor }).unwrap();
        assert!(!met(&original).is_continued_by(&clone) && !met(&clone).is_continued_by(&original));
        // A copy of the running original lists the nonce of the original; the original then lacks the nonce of the copy.
        let copy = starts(&[(6, 10), (7, 90), (8, 100)]);
        assert!(met(&original).is_continued_by(&copy) && !met(&copy).is_continued_by(&original));
    }

    #[test]
    fn every_start_of_a_full_list_without_the_nonce_is_at_or_above_the_place() {
        let full = |first: u64| (0..STARTS_MAX as u64).map(|n| (1000 + n, first + n)).collect::<Vec<_>>();
        assert!(continues(&full(100)) && !continues(&full(99)), "a restored disk that was written to in isolation");
        assert!(!continues(&full(100)[1..]), "the list is not full, so no start was dropped");
    }

    #[test]
    fn evidence_and_identity_keep_nonce_and_place() {
        let (nonces, start_floors) = (vec![1, 2], vec![to_wire(at(3)), to_wire(at(4))]);
        let mut identity = Identity { nonces, start_floors, ..Identity::default() };
        assert_eq!(starts_of(&identity), starts(&[(1, 3), (2, 4)]));
        assert_eq!(Seen::of(&identity), Some(Seen { nonce: 2, floor: at(4) }));
        identity.floor = Some(to_wire(at(9)));
        let seen = Seen::of(&identity).unwrap();
        assert_eq!(seen, Seen { nonce: 2, floor: at(9) });
        assert_eq!(Seen::from_wire(&seen.to_wire()), seen);
        assert_eq!(Seen::of(&Identity::default()), None);
    }
}
