//! Gaps, which stand for removed blocks.

use crate::ids::{Digest, Position};

/// A run of positions whose blocks were removed. Replicas may remove blocks at different times, so a gap is local to a
/// replica: no outcome may depend on a gap. Only blocks below a floor of their stream that all replicas know from the log may
/// therefore be removed, and the rules treat appends below the floor as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First position of the run; the start of an append.
    pub first_position: Position,
    /// Position after the run; the start of an append, or the end of the store.
    pub next_position: u64,
    /// Running digest of the partition's events after the run.
    pub event_digest: Digest,
    /// Number of removed events; at least 1.
    pub events: u64,
}

impl Gap {
    /// Joins this gap with the gap that follows. Returns `None` if rows lie between the two gaps.
    #[must_use]
    pub fn join(self, later: Self) -> Option<Self> {
        let Self { next_position, event_digest, events, .. } = later;
        let events = self.events.saturating_add(events);
        (later.first_position.get() == self.next_position).then_some(Self {
            next_position,
            event_digest,
            events,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(first: u64, next_position: u64) -> Gap {
        let digest = Digest([next_position.to_le_bytes()[0]; 32]);
        let first_position = Position::new(first).unwrap();
        Gap { first_position, next_position, event_digest: digest, events: next_position - first }
    }

    #[test]
    fn neighbours_join_and_others_do_not() {
        assert_eq!(gap(3, 5).join(gap(5, 9)), Some(gap(3, 9)));
        for (one, other) in [(gap(3, 5), gap(6, 9)), (gap(5, 9), gap(3, 5)), (gap(3, 5), gap(4, 9))] {
            assert_eq!(one.join(other), None, "{one:?} {other:?}");
        }
    }
}
