//! Visibility of events: the only place that decides whether a read shows an event. What a stream hides is hidden from every
//! read at once: reads of the stream, reads of the whole store, and subscriptions.
//!
//! [`recorded`] makes the events of reads from stored blocks, so no read can pass the decision. [`selected`] decides for reads
//! of several streams whether a stream is part of the read at all.

use super::block::Block;
use crate::{
    event::RecordedEvent,
    ids::{Position, Revision},
    names::StreamName,
};

/// What a stream hides; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// First revision that may be visible.
    pub floor: Revision,
    /// Age after which events are hidden, microseconds; `None` without a limit.
    pub max_age_us: Option<u64>,
}

/// Returns true if a stream with the given limits shows an event, given the revision of the event, the time of its append and
/// the present time of the serving node, in microseconds.
#[must_use]
pub fn visible(limits: StreamLimits, revision: Revision, recorded_at_us: u64, now_us: u64) -> bool {
    let expired = limits.max_age_us.is_some_and(|age| recorded_at_us.saturating_add(age) <= now_us);
    revision >= limits.floor && !expired
}

/// Returns true if a stream is part of a read of several streams: streams whose names begin with `$` are left out unless the
/// read includes the streams of the system.
#[must_use]
pub fn selected(stream: &StreamName, include_system: bool) -> bool {
    include_system || !stream.is_system()
}

/// Returns the visible events of a block of a stream with the given limits, in order.
pub fn recorded(block: Block, limits: StreamLimits, now_us: u64) -> impl Iterator<Item = RecordedEvent> {
    let first = block.removed_events();
    let Block { stream, first_revision, first_position, recorded_at_us, events, .. } = block;
    (first..).zip(events).filter_map(move |(i, event)| {
        let revision = Revision::new(first_revision.get() + i).unwrap_or(Revision::MAX);
        let position = Position::new(first_position.get() + i).unwrap_or(Position::MAX);
        let stream = stream.clone();
        visible(limits, revision, recorded_at_us, now_us).then_some(RecordedEvent {
            stream,
            revision,
            position,
            recorded_at_us,
            event,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::NewEvent,
        ids::{Digest, EventId, StreamNo},
        names::EventType,
    };
    use bytes::Bytes;
    use std::path::{Path, PathBuf};
    use uuid::Uuid;

    fn limits(floor: u64, max_age_us: Option<u64>) -> StreamLimits {
        StreamLimits { floor: Revision::new(floor).unwrap(), max_age_us }
    }

    #[test]
    fn an_event_is_visible_from_the_floor_on_and_before_the_maximum_age() {
        let cases = [
            (StreamLimits::default(), 0, 0, u64::MAX, true),
            (limits(5, None), 4, 100, 100, false),
            (limits(5, None), 5, 100, 100, true),
            (limits(0, Some(10)), 0, 100, 109, true),
            (limits(0, Some(10)), 0, 100, 110, false),
            (limits(0, Some(u64::MAX)), 0, 100, u64::MAX - 1, true),
            (limits(5, Some(10)), 4, 100, 100, false),
            (limits(5, Some(10)), 5, 100, 110, false),
            // The clock of the serving node may be behind the time of the append.
            (limits(0, Some(10)), 0, 100, 0, true),
        ];
        for (limits, revision, recorded_at_us, now_us, expected) in cases {
            let revision = Revision::new(revision).unwrap();
            let found = visible(limits, revision, recorded_at_us, now_us);
            assert_eq!(found, expected, "{limits:?} {revision} {recorded_at_us} {now_us}");
        }
    }

    #[test]
    fn the_visible_events_of_a_block_have_consecutive_revisions_and_positions() {
        let event = |id: u128| NewEvent {
            id: EventId::new(Uuid::from_u128(id)),
            event_type: EventType::new("T").unwrap(),
            content_type: String::new(),
            data: Bytes::new(),
            metadata: Bytes::new(),
            tags: vec![],
            correlation_id: String::new(),
            causation_id: String::new(),
            occurred_at_us: None,
        };
        let block = Block {
            event_digest: Digest::default(),
            stream_no: StreamNo::new(9),
            stream: StreamName::new("a").unwrap(),
            first_revision: Revision::new(5).unwrap(),
            first_position: Position::new(70).unwrap(),
            recorded_at_us: 8,
            stream_bytes_before: 0,
            events: vec![event(1), event(2), event(3)],
            removed: None,
        };
        let all = [(5, 70, event(1)), (6, 71, event(2)), (7, 72, event(3))];
        for (floor, hidden) in [(0, 0), (5, 0), (6, 1), (7, 2), (8, 3)] {
            let found: Vec<_> = recorded(block.clone(), limits(floor, None), 8).collect();
            assert!(found.iter().all(|e| e.stream == block.stream && e.recorded_at_us == 8));
            let found: Vec<_> = found.into_iter().map(|e| (e.revision.get(), e.position.get(), e.event)).collect();
            assert_eq!(found, all[hidden..], "from revision {floor} on");
        }
        assert_eq!(recorded(block, limits(0, Some(10)), 18).count(), 0, "too old");
    }

    #[test]
    fn streams_of_the_system_are_selected_on_request() {
        let (system, other) = (StreamName::new("$x").unwrap(), StreamName::new("x$").unwrap());
        assert_eq!([selected(&system, false), selected(&system, true)], [false, true]);
        assert_eq!([selected(&other, false), selected(&other, true)], [true, true]);
    }

    fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                sources(&path, out);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                out.push(path);
            }
        }
    }

    /// Every event of a read is made by [`recorded`]: the code of the node has no other expression that makes one.
    #[test]
    fn no_other_code_makes_the_events_of_reads() {
        let node = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = Vec::new();
        for part in ["core/src", "raft/src", "storage/src", "store-api/src", "gateway/src", "src"] {
            sources(&node.join(part), &mut files);
        }
        let makes = |path: &&PathBuf| {
            let text = std::fs::read_to_string(path).unwrap();
            // Messages of the protocol have the same name, behind the name of their module.
            let makes = |line: &str| line.contains("RecordedEvent {") && !line.contains("::RecordedEvent {");
            text.lines().any(|line| makes(line) && !line.contains("struct ") && !line.contains("-> "))
        };
        let made: Vec<&PathBuf> = files.iter().filter(makes).collect();
        assert!(made.len() == 1 && made[0].ends_with("core/src/stream/visibility.rs"), "{made:?}");
    }
}
