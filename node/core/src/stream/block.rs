//! Blocks, the unit of event storage.

use super::{
    digest::IdsHash,
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
    /// Events of the append, in order; never empty.
    pub events: Vec<NewEvent>,
}

impl Block {
    /// Returns the revision of the last event.
    #[must_use]
    pub fn last_revision(&self) -> Revision {
        let more = (self.events.len() as u64).saturating_sub(1);
        Revision::new(self.first_revision.get().saturating_add(more)).unwrap_or(Revision::MAX)
    }

    /// Returns the position after the last event.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.first_position.get().saturating_add(self.events.len() as u64)
    }

    /// Returns the row of the append.
    #[must_use]
    pub fn append_row(&self) -> AppendRow {
        AppendRow {
            first_position: self.first_position,
            count: u32::try_from(self.events.len()).unwrap_or(u32::MAX),
            recorded_at_us: self.recorded_at_us,
            ids_hash: IdsHash::of(&self.events),
            bytes_before: self.stream_bytes_before,
        }
    }

    /// Returns the row of the stream after the append.
    #[must_use]
    pub fn stream_row(&self) -> StreamRow {
        let added: u64 = self.events.iter().map(|e| e.size() as u64).sum();
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
    }
}
