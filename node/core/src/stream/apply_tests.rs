use super::*;
use crate::{
    event::NewEvent,
    ids::{Digest, EventId},
    names::{EventType, StreamName},
};
use bytes::Bytes;
use proptest::prelude::*;
use std::{collections::BTreeMap, convert::Infallible};
use uuid::Uuid;

/// The partition's rows in maps.
#[derive(Clone, Default, PartialEq, Debug)]
struct Rows {
    streams: BTreeMap<StreamName, StreamRow>,
    blocks: BTreeMap<(StreamNo, Revision), Block>,
    repeats: BTreeMap<RepeatKey, RepeatRow>,
}

impl State for Rows {
    type Error = Infallible;
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Infallible> {
        Ok(self.streams.get(name).copied())
    }
    fn block_at(&mut self, stream: StreamNo, revision: Revision) -> Result<Option<Block>, Infallible> {
        Ok(self.blocks.range(..=(stream, revision)).next_back().filter(|(k, _)| k.0 == stream).map(|(_, b)| b.clone()))
    }
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Infallible> {
        Ok(self.repeats.get(key).copied())
    }
    fn put_block(&mut self, block: Block) {
        let last = Revision::new(block.first_revision.get() + block.events.len() as u64 - 1).unwrap();
        self.streams.insert(block.stream.clone(), StreamRow { no: block.stream_no, last });
        self.blocks.insert((block.stream_no, block.first_revision), block);
    }
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow) {
        self.repeats.insert(key, row);
    }
    fn drop_repeats(&mut self, from: u64, to: u64) {
        self.repeats.retain(|k, _| k.bucket < from || k.bucket >= to);
    }
}

#[derive(Default)]
struct Store {
    meta: PartitionMeta,
    rows: Rows,
}

fn event(id: u128) -> NewEvent {
    NewEvent {
        id: EventId::new(Uuid::from_u128(id)),
        event_type: EventType::new("T").unwrap(),
        content_type: String::new(),
        data: Bytes::from(id.to_string()),
        metadata: Bytes::new(),
        tags: vec![],
        correlation_id: String::new(),
        causation_id: String::new(),
    }
}

fn stamped(stream: &str, expected: ExpectedRevision, ids: &[u128], stamp_us: u64) -> Stamped {
    let events = ids.iter().map(|id| event(*id)).collect();
    Stamped { append: Append { stream: StreamName::new(stream).unwrap(), expected, events }, stamp_us }
}

fn exact(r: u64) -> ExpectedRevision {
    ExpectedRevision::Exact(Revision::new(r).unwrap())
}

impl Store {
    fn command(&mut self, kind: Kind) -> Vec<Outcome> {
        apply(&mut self.meta, &mut self.rows, &Command { rules: RULES, kind }).unwrap()
    }
    fn append(&mut self, stream: &str, expected: ExpectedRevision, ids: &[u128], stamp_us: u64) -> Outcome {
        self.command(Kind::Appends(vec![stamped(stream, expected, ids, stamp_us)])).remove(0)
    }
}

const ANY: ExpectedRevision = ExpectedRevision::Any;
const NONE: ExpectedRevision = ExpectedRevision::NoStream;
const EXISTS: ExpectedRevision = ExpectedRevision::StreamExists;

#[test]
fn positions_start_at_one_and_revisions_at_zero() {
    let mut s = Store::default();
    let a = s.append("a", NONE, &[1, 2], 10).unwrap();
    assert_eq!((a.first_revision.get(), a.last_revision.get()), (0, 1));
    assert_eq!((a.first_position.get(), a.last_position.get()), (1, 2));
    let b = s.append("b", ANY, &[3], 10).unwrap();
    assert_eq!((b.first_revision.get(), b.first_position.get()), (0, 3));
}

#[test]
fn the_expected_revision_is_exact_under_every_kind() {
    let mut s = Store::default();
    assert!(s.append("a", EXISTS, &[1], 0).is_err());
    assert!(s.append("a", exact(0), &[1], 0).is_err());
    assert!(s.append("a", NONE, &[1], 0).is_ok());
    let wrong = s.append("a", NONE, &[2], 0).unwrap_err();
    assert!(matches!(wrong, Rejected::WrongRevision { actual: Tail::At(r), .. } if r.get() == 0));
    assert!(s.append("a", exact(0), &[2], 0).is_ok());
    assert!(s.append("a", exact(0), &[3], 0).is_err());
    assert!(s.append("a", exact(5), &[3], 0).is_err());
    assert!(s.append("a", EXISTS, &[3], 0).is_ok());
    assert_eq!(s.meta.events, 3);
}

#[test]
fn a_retry_gets_the_first_answer_at_any_age_for_exact_revisions() {
    let mut s = Store::default();
    let first = s.append("a", NONE, &[1, 2], 5).unwrap();
    let second = s.append("a", exact(1), &[3], 6).unwrap();
    s.append("a", ANY, &[4], u64::MAX / 2).unwrap();
    let again = s.append("a", NONE, &[1, 2], 7).unwrap();
    assert!(again.repeated);
    assert_eq!(Appended { repeated: false, ..again }, first);
    let again = s.append("a", exact(1), &[3], 7).unwrap();
    assert_eq!(Appended { repeated: false, ..again }, second);
    assert!(s.append("a", NONE, &[1], 7).is_err(), "a part of the batch is another batch");
    assert!(s.append("a", exact(1), &[9], 7).is_err());
}

#[test]
fn a_retry_of_any_is_recognised_within_the_window_only() {
    let mut s = Store::default();
    let window = s.meta.repeat_window_us;
    let first = s.append("a", ANY, &[1, 2], 1_000).unwrap();
    let again = s.append("a", ANY, &[1, 2], 1_000 + window).unwrap();
    assert!(again.repeated);
    assert_eq!(again.first_position, first.first_position);
    assert!(s.append("a", EXISTS, &[1, 2], 1_000 + window).unwrap().repeated);
    let reused = s.append("a", ANY, &[1, 3], 1_000 + window).unwrap_err();
    assert!(matches!(reused, Rejected::IdReused { .. }));
    assert!(!s.append("a", ANY, &[1, 2], 1_001 + window).unwrap().repeated, "older rows count as absent");
}

#[test]
fn repeats_are_dropped_by_whole_buckets() {
    let mut s = Store::default();
    let window = s.meta.repeat_window_us;
    for i in 0..10 {
        s.append("a", ANY, &[100 + u128::from(i)], i * window).unwrap();
    }
    assert!(s.rows.repeats.len() <= 2, "{}", s.rows.repeats.len());
}

#[test]
fn time_never_goes_back() {
    let mut s = Store::default();
    assert_eq!(s.append("a", ANY, &[1], 100).unwrap().recorded_at_us, 100);
    assert_eq!(s.append("a", ANY, &[2], 50).unwrap().recorded_at_us, 100);
    assert_eq!(s.append("a", ANY, &[3], 101).unwrap().recorded_at_us, 101);
}

#[test]
fn a_closed_store_refuses_and_opens_again() {
    let mut s = Store::default();
    let window = s.meta.repeat_window_us;
    s.command(Kind::Settings { repeat_window_us: window, closed: true });
    assert_eq!(s.append("a", ANY, &[1], 0), Err(Rejected::Closed));
    s.command(Kind::Settings { repeat_window_us: window, closed: false });
    assert!(s.append("a", ANY, &[1], 0).is_ok());
}

#[test]
fn unknown_rules_stop_the_replica() {
    let mut s = Store::default();
    let command = Command { rules: RULES + 1, kind: Kind::Appends(vec![]) };
    assert!(matches!(apply(&mut s.meta, &mut s.rows, &command), Err(ApplyError::UnknownRules(_))));
}

#[test]
fn digests_are_a_contract() {
    let mut s = Store::default();
    s.append("orders-1", NONE, &[1, 2], 1_000).unwrap();
    s.append("orders-1", NONE, &[3], 2_000).unwrap_err();
    assert_eq!(s.meta.event_digest.to_string(), include_str!("golden_event_digest.txt").trim());
    assert_eq!(s.meta.digest.to_string(), include_str!("golden_digest.txt").trim());
}

fn any_append() -> impl Strategy<Value = Stamped> {
    let expected = prop_oneof![
        3 => Just(ANY),
        1 => Just(NONE),
        1 => Just(EXISTS),
        3 => (0u64..12).prop_map(exact),
    ];
    (0usize..3, expected, prop::collection::vec(1u128..40, 1..4), 0u64..100)
        .prop_map(|(stream, expected, mut ids, at)| {
            ids.dedup();
            stamped(["a", "b", "c"][stream], expected, &ids, at)
        })
}

proptest! {
    /// However the log is cut into entries, rows, outcomes and digests are the same.
    #[test]
    fn the_same_log_gives_the_same_state(log in prop::collection::vec(any_append(), 1..60), cut in 1usize..7) {
        let (mut one, mut many) = (Store::default(), Store::default());
        let a: Vec<Outcome> = log.iter().flat_map(|s| one.command(Kind::Appends(vec![s.clone()]))).collect();
        let b: Vec<Outcome> = log.chunks(cut).flat_map(|c| many.command(Kind::Appends(c.to_vec()))).collect();
        prop_assert_eq!(a, b);
        prop_assert_eq!(&one.meta, &many.meta);
        prop_assert_eq!(&one.rows, &many.rows);
    }

    /// Revisions have no gaps, positions rise by one, and a batch is whole or absent.
    #[test]
    fn accepted_batches_are_whole_and_gapless(log in prop::collection::vec(any_append(), 1..60)) {
        let mut s = Store::default();
        let (mut next_position, mut next_revision) = (1u64, BTreeMap::<String, u64>::new());
        for step in log {
            let stream = step.append.stream.to_string();
            let count = step.append.events.len() as u64;
            let expected = step.append.expected;
            let outcome = s.command(Kind::Appends(vec![step])).remove(0);
            let next = next_revision.entry(stream).or_default();
            match outcome {
                Ok(a) if !a.repeated => {
                    prop_assert_eq!(a.first_position.get(), next_position);
                    prop_assert_eq!(a.first_revision.get(), *next);
                    prop_assert_eq!(a.last_revision.get(), *next + count - 1);
                    if let ExpectedRevision::Exact(r) = expected { prop_assert_eq!(r.get() + 1, *next) }
                    next_position += count;
                    *next += count;
                }
                Ok(a) => prop_assert!(a.last_position.get() < next_position),
                Err(_) => {}
            }
        }
        let stored: u64 = s.rows.blocks.values().map(|b| b.events.len() as u64).sum();
        prop_assert_eq!(stored, next_position - 1);
        prop_assert_eq!(s.meta.next_position, next_position);
        prop_assert_ne!(s.meta.digest, Digest([1; 32]));
    }
}
