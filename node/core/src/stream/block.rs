//! Blocks, the unit of event storage.

use super::{
    digest::{self, IdsHash},
    state::{AppendRow, StreamRow},
};
use crate::{
    event::NewEvent,
    ids::{Digest, Position, Revision, StreamNo},
    names::StreamName,
};

/// The events of an append, stored as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Running digest of the partition's events after this block.
    pub event_digest: Digest,
    /// Number of the stream.
    pub stream_no: StreamNo,
    /// Name of the stream.
    pub stream: StreamName,
    /// Revision of the first event.
    pub first_revision: Revision,
    /// Position of the first event.
    pub first_position: Position,
    /// Time of the append, Unix time in microseconds.
    pub recorded_at_us: u64,
    /// Size of the events of the stream before the append (data plus metadata), bytes.
    pub stream_bytes_before: u64,
    /// Events of the append that the block still holds, in order; never empty.
    pub events: Vec<NewEvent>,
    /// First events of the append, removed from the block; `None` for a block with the whole append.
    pub removed: Option<RemovedStart>,
}

/// The removed first events of an append. Replicas may remove events at different times, so no outcome depends on
/// removed events.
///
/// The block keeps its place: the revision, the position and the row of the append stay those of the whole append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedStart {
    /// Number of removed events; at least 1.
    pub count: u32,
    /// Size of the removed events (data plus metadata), bytes.
    pub bytes: u64,
    /// Digest of the whole append.
    pub append_digest: Digest,
    /// Hash of the event ids of the whole append.
    pub ids_hash: IdsHash,
}

impl Block {
    /// Returns the number of removed events.
    #[must_use]
    pub fn removed_events(&self) -> u64 {
        self.removed.map_or(0, |removed| u64::from(removed.count))
    }

    /// Returns the number of events of the append, with the removed events.
    fn count(&self) -> u64 {
        self.removed_events() + self.events.len() as u64
    }

    /// Returns the revision of the last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let more = self.count().saturating_sub(1);
        Revision::new(self.first_revision.get().saturating_add(more)).unwrap_or(Revision::MAX)
    }

    /// Returns the position after the last event.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position.get().saturating_add(self.count())
    }

    /// Returns the row of the append.
    #[must_use]
    pub fn append_row(&self) -> AppendRow {
        AppendRow {
            first_position: self.first_position,
            count: u32::try_from(self.count()).unwrap_or(u32::MAX),
            recorded_at_us: self.recorded_at_us,
            ids_hash: self.ids_hash(),
            bytes_before: self.stream_bytes_before,
        }
    }

    fn ids_hash(&self) -> IdsHash {
        self.removed.map_or_else(|| IdsHash::of(&self.events), |removed| removed.ids_hash)
    }

    /// Removes the first `count` of the events that the block still holds. Returns `None` if no event would be left, because
    /// a gap stands for a block without events. Nothing removes events yet; the tests of stored rows do.
    #[must_use]
    pub fn without_start(mut self, count: u32) -> Option<Self> {
        let kept = self.events.get(usize::try_from(count).ok()?..).filter(|kept| !kept.is_empty())?.to_vec();
        let (append_digest, ids_hash) = (digest::append(&self), self.ids_hash());
        let gone: u64 = self.events.iter().take(self.events.len() - kept.len()).map(|e| e.size() as u64).sum();
        let before = self.removed.map_or((0, 0), |removed| (removed.count, removed.bytes));
        let (count, bytes) = (before.0.checked_add(count)?, before.1.saturating_add(gone));
        self.removed = (count > 0).then_some(RemovedStart { count, bytes, append_digest, ids_hash });
        self.events = kept;
        Some(self)
    }

    /// Returns the row of the stream after the append.
    #[must_use]
    pub fn stream_row(&self) -> StreamRow {
        let removed = self.removed.map_or(0, |removed| removed.bytes);
        let added = self.events.iter().map(|e| e.size() as u64).fold(removed, u64::saturating_add);
        let bytes = self.stream_bytes_before.saturating_add(added);
        StreamRow { no: self.stream_no, last: self.last_revision(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::EventId, names::EventType};
    use bytes::Bytes;
    use uuid::Uuid;

    fn event(data: usize, metadata: usize) -> NewEvent {
        NewEvent {
            id: EventId::new(Uuid::from_u128(1)),
            event_type: EventType::new("OrderPlaced").unwrap(),
            content_type: "application/json".into(),
            data: Bytes::from(vec![1; data]),
            metadata: Bytes::from(vec![2; metadata]),
            tags: vec!["order:1".into()],
            correlation_id: "c".into(),
            causation_id: "d".into(),
            occurred_at_us: Some(1),
        }
    }

    #[test]
    fn the_rows_of_a_block_follow_from_its_events() {
        let block = Block {
            event_digest: Digest::default(),
            stream_no: StreamNo::new(9),
            stream: StreamName::new("orders-1").unwrap(),
            first_revision: Revision::new(5).unwrap(),
            first_position: Position::new(70).unwrap(),
            recorded_at_us: 8,
            stream_bytes_before: 100,
            events: vec![event(10, 3), event(20, 0), event(0, 4)],
            removed: None,
        };
        assert_eq!((block.last_revision().get(), block.next_position()), (7, 73));
        // Only data and metadata count: 13 + 20 + 4 bytes.
        let stream = StreamRow { no: block.stream_no, last: block.last_revision(), bytes: 137 };
        assert_eq!(block.stream_row(), stream);
        let append = AppendRow {
            first_position: block.first_position,
            count: 3,
            recorded_at_us: 8,
            ids_hash: IdsHash::of(&block.events),
            bytes_before: 100,
        };
        assert_eq!(block.append_row(), append);

        // A block without its first events keeps the rows and the digest of the whole append.
        let before = Digest([3; 32]);
        let mut whole = block;
        whole.event_digest = digest::events(&before, &whole);
        assert!(whole.follows(&before));
        for cut in [whole.clone().without_start(2), whole.clone().without_start(1).and_then(|b| b.without_start(1))] {
            let cut = cut.unwrap();
            assert_eq!((cut.removed_events(), cut.events.as_slice()), (2, &whole.events[2..]));
            assert_eq!((cut.last_revision(), cut.next_position()), (whole.last_revision(), whole.next_position()));
            assert_eq!((cut.append_row(), cut.stream_row()), (append, stream));
            assert!(cut.follows(&before) && !cut.follows(&Digest::default()));
            let other = RemovedStart { append_digest: Digest([4; 32]), ..cut.removed.unwrap() };
            assert!(!Block { removed: Some(other), ..cut }.follows(&before), "the kept digest counts");
        }
        assert_eq!(whole.clone().without_start(0), Some(whole.clone()));
        assert_eq!((whole.clone().without_start(3), whole.without_start(u32::MAX)), (None, None));
    }
}
