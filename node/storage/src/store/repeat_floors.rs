//! [`RepeatFloors`]: decides on the repeat rows removable by compaction, for all partitions of a state database.
//!
//! A repeat row below the floor of the partition ([`PartitionMeta::repeat_floor`]) no longer counts, and the
//! rules never read such a row again. Compaction removes the row; a removal by the log would cost a second row
//! for each append.
//!
//! - The floor is the floor of the last flush. After a crash, entries above the flushed state are applied again, and
//!   the rows counting for these entries must still exist.
//! - A view sent to another replica may be older than the last flush, so the sender holds the floor.
//!
//! [`PartitionMeta::repeat_floor`]: taffrail_core::stream::PartitionMeta::repeat_floor

use super::{codec, schema};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};
use taffrail_core::ids::PartitionId;

#[derive(Clone, Copy, Default)]
struct Floor {
    /// Floor as of the last flush.
    flushed: u64,
    /// Floor for compaction: the flushed floor, or a lower floor while the floor is held.
    effective: u64,
    holds: u32,
}

/// Floors by partition. A partition without a floor keeps all rows. Cheap to clone: all clones share the floors.
#[derive(Clone, Default)]
pub(super) struct RepeatFloors(Arc<RwLock<BTreeMap<PartitionId, Floor>>>);

impl RepeatFloors {
    /// Sets the floor of a partition as of the last flush.
    pub(super) fn set(&self, partition: PartitionId, flushed: u64) {
        self.change(partition, |floor| {
            floor.flushed = flushed;
            // A partition whose events are replaced starts again at a lower floor, whoever holds the former floor.
            floor.effective = if floor.holds == 0 { flushed } else { floor.effective.min(flushed) };
        });
    }

    /// Removes the floor of a deleted partition.
    pub(super) fn remove(&self, partition: PartitionId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Holds the floor of a partition until the answer is dropped. A view taken afterwards keeps all rows counting
    /// in the view.
    pub(super) fn hold(&self, partition: PartitionId) -> Hold {
        self.change(partition, |floor| floor.holds += 1);
        Hold { floors: self.clone(), partition }
    }

    /// Returns true if compaction must keep the row of `dedup`. A row that does not decode is kept, because removal would
    /// hide the damage.
    pub(super) fn keeps(&self, key: &[u8], value: &[u8]) -> bool {
        let Some(partition) = schema::partition_of(key) else { return true };
        let floors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(floor) = floors.get(&partition) else { return true };
        codec::decode_repeat(value).map_or(true, |row| row.bucket >= floor.effective)
    }

    fn change(&self, partition: PartitionId, change: impl FnOnce(&mut Floor)) {
        change(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(partition).or_default());
    }
}

/// Keeps compaction from removing more repeat rows of a partition.
#[must_use = "the floor rises again when the hold is dropped"]
pub(super) struct Hold {
    floors: RepeatFloors,
    partition: PartitionId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut floors = self.floors.0.write().unwrap_or_else(PoisonError::into_inner);
        // The partition may have been deleted meanwhile.
        let Some(floor) = floors.get_mut(&self.partition) else { return };
        floor.holds = floor.holds.saturating_sub(1);
        if floor.holds == 0 {
            floor.effective = floor.flushed;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use taffrail_core::{
        ids::{EventId, Position, Revision, StreamNo},
        stream::{IdsHash, RepeatKey, RepeatRow},
    };
    use uuid::Uuid;

    fn row(bucket: u64) -> Vec<u8> {
        codec::encode_repeat(&RepeatRow {
            bucket,
            first_revision: Revision::default(),
            count: 1,
            first_position: Position::START,
            recorded_at_us: 0,
            ids_hash: IdsHash::default(),
        })
    }

    #[test]
    fn rows_below_the_floor_of_their_partition_go_and_a_hold_keeps_them() {
        let floors = RepeatFloors::default();
        let (one, two) = (PartitionId::new(1), PartitionId::new(2));
        let key =
            |p| schema::repeat(p, 1, &RepeatKey { stream_no: StreamNo::new(1), first_id: EventId::new(Uuid::nil()) });
        let kept = |p| (0..6).find(|bucket| floors.keeps(&key(p), &row(*bucket)));
        assert_eq!(kept(one), Some(0), "without a floor");
        floors.set(one, 3);
        assert_eq!((kept(one), kept(two)), (Some(3), Some(0)));
        assert!(floors.keeps(&key(one), b"damaged \xff"), "damage is not removed");
        let first = floors.hold(one);
        floors.set(one, 5);
        let second = floors.hold(one);
        drop(first);
        assert_eq!(kept(one), Some(3), "one sender is left");
        drop(second);
        assert_eq!(kept(one), Some(5));
        let hold = floors.hold(one);
        floors.set(one, 0);
        assert_eq!(kept(one), Some(0), "a partition that starts again");
        floors.remove(one);
        drop(hold);
        assert_eq!(kept(one), Some(0));
        assert!(floors.0.read().unwrap().is_empty());
    }
}
