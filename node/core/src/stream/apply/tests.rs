use super::*;
use crate::{
    event::NewEvent,
    ids::EventId,
    limits::REPEAT_WINDOW_US,
    names::{EventType, StreamName},
};
use bytes::Bytes;
use proptest::prelude::*;
use std::{collections::BTreeMap, convert::Infallible};
use uuid::Uuid;

/// Rows of a partition, in memory.
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
    assert!(s.append("a", NONE, &[1], 7).is_err(), "a part of a batch is not a repeat");
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
    assert!(!s.append("a", ANY, &[1, 2], 1_001 + window).unwrap().repeated, "expired rows count as absent");
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
fn a_retry_in_a_closed_store_still_gets_the_first_answer() {
    let mut s = Store::default();
    let first = s.append("a", ANY, &[1], 0).unwrap();
    let second = s.append("a", exact(0), &[2], 0).unwrap();
    s.command(Kind::Settings { repeat_window_us: REPEAT_WINDOW_US, closed: true });
    for (expected, id, was) in [(ANY, 1, first), (NONE, 1, first), (exact(0), 2, second)] {
        let again = s.append("a", expected, &[id], 1).unwrap();
        assert!(again.repeated);
        assert_eq!(Appended { repeated: false, ..again }, was);
    }
    assert_eq!(s.append("a", exact(0), &[3], 1), Err(Rejected::Closed));
}

/// The length of a bucket does not depend on the window, so rows written before the change are found after the change.
#[test]
fn a_retry_is_recognised_across_a_change_of_the_window() {
    for (before, after) in [(1, 4), (4, 1), (1, 40), (40, 1)] {
        let mut s = Store::default();
        let window = |n: u64| Kind::Settings { repeat_window_us: n * REPEAT_WINDOW_US, closed: false };
        let start = 1_700_000_000_000_000;
        s.command(window(before));
        s.append("a", ANY, &[1], start - 50 * REPEAT_WINDOW_US).unwrap();
        s.append("a", ANY, &[2], start).unwrap();
        s.command(window(after));
        assert!(s.append("a", ANY, &[2], start + 1_000).unwrap().repeated, "{before} to {after}");
        assert!(!s.append("a", ANY, &[3], start + 2_000).unwrap().repeated);
        assert!(s.append("a", ANY, &[3], start + 2_000 + after * REPEAT_WINDOW_US).unwrap().repeated);
        assert!(!s.append("a", ANY, &[2], start + 2_000 + after * REPEAT_WINDOW_US).unwrap().repeated);
    }
}

#[test]
fn the_window_is_bounded() {
    let mut s = Store::default();
    s.command(Kind::Settings { repeat_window_us: u64::MAX, closed: false });
    assert_eq!(s.meta.repeat_window_us, REPEAT_WINDOW_MAX_US);
}

#[test]
fn unknown_rules_stop_the_replica() {
    let mut s = Store::default();
    let unknown = [
        Command { rules: RULES + 1, kind: Kind::Appends(vec![]) },
        Command { rules: 0, kind: Kind::Appends(vec![]) },
        Command { rules: RULES, kind: Kind::RaiseRules(RULES + 1) },
    ];
    for command in unknown {
        let before = s.meta.clone();
        assert!(matches!(apply(&mut s.meta, &mut s.rows, &command), Err(ApplyError::UnknownRules(_))));
        assert_eq!(s.meta, before);
    }
    s.command(Kind::RaiseRules(RULES));
    assert_eq!(s.meta.rules, RULES);
}

#[test]
fn every_partition_begins_under_the_first_rules_whatever_this_version_knows() {
    // The number itself: a version that knows more must not change what the logs of older ones mean.
    assert_eq!((PartitionMeta::default().rules, crate::stream::command::FIRST_RULES), (1, 1));
}

#[test]
fn an_append_without_events_stops_the_replica() {
    let mut s = Store::default();
    let command = Command { rules: RULES, kind: Kind::Appends(vec![stamped("a", ANY, &[], 0)]) };
    assert!(matches!(apply(&mut s.meta, &mut s.rows, &command), Err(ApplyError::EmptyAppend(_))));
}

#[test]
fn a_full_stream_or_store_refuses_and_changes_nothing() {
    let mut s = Store::default();
    s.append("a", ANY, &[1], 0).unwrap();
    s.rows.streams.values_mut().for_each(|row| row.last = Revision::new(Revision::MAX.get() - 1).unwrap());
    let (meta, rows) = (s.meta.clone(), s.rows.clone());
    assert!(matches!(s.append("a", ANY, &[2, 3], 0), Err(Rejected::StreamFull { .. })));
    assert_eq!((s.meta.next_position, &s.rows), (meta.next_position, &rows));
    assert_eq!(s.append("a", ANY, &[2], 0).unwrap().last_revision, Revision::MAX);
    assert!(matches!(s.append("a", ANY, &[3], 0), Err(Rejected::StreamFull { .. })));

    s.meta.next_position = Position::MAX.get();
    assert!(matches!(s.append("b", ANY, &[4, 5], 0), Err(Rejected::StreamFull { .. })));
    assert_eq!(s.append("b", ANY, &[4], 0).unwrap().last_position, Position::MAX);
    assert!(matches!(s.append("b", ANY, &[5], 0), Err(Rejected::StreamFull { .. })));
}

#[test]
fn digests_are_a_contract() {
    let mut s = Store::default();
    s.append("orders-1", NONE, &[1, 2], 1_000).unwrap();
    s.append("orders-1", NONE, &[3], 2_000).unwrap_err();
    assert_eq!(s.meta.event_digest.to_string(), include_str!("golden_event_digest.txt").trim());
    assert_eq!(s.meta.digest.to_string(), include_str!("golden_digest.txt").trim());
}

/// Reference model of a store: a list of all accepted batches, searched from the end.
#[derive(Default)]
struct Model {
    accepted: Vec<(String, Vec<EventId>, Appended)>,
    window: u64,
    closed: bool,
    floor: u64,
}

impl Model {
    fn new() -> Self {
        Self { window: REPEAT_WINDOW_US, ..Self::default() }
    }

    fn append(&mut self, s: &Stamped) -> Outcome {
        let stream = s.append.stream.to_string();
        let ids: Vec<EventId> = s.append.events.iter().map(|e| e.id).collect();
        let last = self.accepted.last().map(|(_, _, a)| *a);
        let now = s.stamp_us.max(last.map_or(0, |a| a.recorded_at_us));
        let mut mine = self.accepted.iter().filter(|(name, _, _)| *name == stream);
        let tail = mine.clone().next_back().map(|(_, _, a)| a.last_revision);
        let same_at = |first: u64| {
            mine.clone().find(|(_, was, a)| a.first_revision.get() == first && *was == ids).map(|(_, _, a)| *a)
        };
        let repeat = match s.append.expected {
            NONE => same_at(0),
            ExpectedRevision::Exact(r) => same_at(r.get() + 1),
            ANY | EXISTS => {
                let oldest = now.saturating_sub(self.window);
                let found = mine.rfind(|(_, was, a)| {
                    let kept = a.recorded_at_us / REPEAT_BUCKET_US >= self.floor;
                    was[0] == ids[0] && a.recorded_at_us >= oldest && kept
                });
                match found {
                    Some((_, was, _)) if *was != ids => {
                        return Err(Rejected::IdReused { stream: s.append.stream.clone(), id: ids[0] });
                    }
                    found => found.map(|(_, _, a)| *a),
                }
            }
        };
        if let Some(was) = repeat {
            return Ok(Appended { repeated: true, ..was });
        }
        if self.closed {
            return Err(Rejected::Closed);
        }
        let fits = match s.append.expected {
            ANY => true,
            NONE => tail.is_none(),
            EXISTS => tail.is_some(),
            ExpectedRevision::Exact(r) => tail == Some(r),
        };
        if !fits {
            let actual = tail.map_or(Tail::Empty, Tail::At);
            return Err(Rejected::WrongRevision {
                stream: s.append.stream.clone(),
                expected: s.append.expected,
                actual,
            });
        }
        let first = tail.map_or(0, |r| r.get() + 1);
        let position = last.map_or(1, |a| a.last_position.get() + 1);
        let more = ids.len() as u64 - 1;
        let appended = Appended {
            first_revision: Revision::new(first).unwrap(),
            last_revision: Revision::new(first + more).unwrap(),
            first_position: Position::new(position).unwrap(),
            last_position: Position::new(position + more).unwrap(),
            recorded_at_us: now,
            repeated: false,
        };
        self.floor = self.floor.max(now.saturating_sub(self.window) / REPEAT_BUCKET_US);
        self.accepted.push((stream, ids, appended));
        Ok(appended)
    }
}

/// A step of a random log. Times are in the range of minutes, like the windows.
#[derive(Clone, Debug)]
enum Step {
    Append(Stamped),
    /// Repeats an earlier append of the log, possibly with another expected revision.
    Retry {
        which: prop::sample::Index,
        expected: Option<ExpectedRevision>,
        later_us: u64,
    },
    Settings {
        window_minutes: u64,
        closed: bool,
    },
}

const MINUTE_US: u64 = 60_000_000;

fn any_step() -> impl Strategy<Value = Step> {
    let retry = (any::<prop::sample::Index>(), prop::option::of(any_expectation()), 0u64..40)
        .prop_map(|(which, expected, later)| Step::Retry { which, expected, later_us: later * MINUTE_US });
    let append = (any_append(), 0u64..600)
        .prop_map(|(s, minute)| Step::Append(Stamped { stamp_us: minute * MINUTE_US / 4, ..s }));
    let settings = (prop::sample::select(vec![0u64, 1, 4, 15, 60]), prop::bool::weighted(0.3))
        .prop_map(|(window_minutes, closed)| Step::Settings { window_minutes, closed });
    prop_oneof![8 => append, 6 => retry, 1 => settings]
}

fn any_expectation() -> impl Strategy<Value = ExpectedRevision> {
    prop_oneof![3 => Just(ANY), 1 => Just(NONE), 1 => Just(EXISTS), 3 => (0u64..12).prop_map(exact)]
}

fn any_append() -> impl Strategy<Value = Stamped> {
    (0usize..3, any_expectation(), prop::collection::vec(1u128..40, 1..4), 0u64..100).prop_map(
        |(stream, expected, mut ids, at)| {
            ids.dedup();
            stamped(["a", "b", "c"][stream], expected, &ids, at)
        },
    )
}

proptest! {
    /// Random appends, retries and settings: every outcome equals the outcome of the model.
    #[test]
    fn outcomes_are_those_of_the_model(steps in prop::collection::vec(any_step(), 1..120)) {
        let (mut s, mut model, mut sent) = (Store::default(), Model::new(), Vec::<Stamped>::new());
        for step in steps {
            let next = match step {
                Step::Settings { window_minutes, closed } => {
                    let repeat_window_us = window_minutes * MINUTE_US;
                    s.command(Kind::Settings { repeat_window_us, closed });
                    (model.window, model.closed) = (repeat_window_us, closed);
                    continue;
                }
                Step::Append(next) => next,
                Step::Retry { .. } if sent.is_empty() => continue,
                Step::Retry { which, expected, later_us } => {
                    let mut again = which.get(&sent).clone();
                    again.append.expected = expected.unwrap_or(again.append.expected);
                    again.stamp_us += later_us;
                    again
                }
            };
            let outcome = s.command(Kind::Appends(vec![next.clone()])).remove(0);
            prop_assert_eq!(outcome, model.append(&next), "{:?}", next);
            sent.push(next);
        }
        prop_assert_eq!(s.meta.repeat_floor, model.floor);
    }

    /// Rows, outcomes and digests do not depend on the division of the appends into log entries.
    #[test]
    fn the_same_log_gives_the_same_state(log in prop::collection::vec(any_append(), 1..60), cut in 1usize..7) {
        let (mut one, mut many) = (Store::default(), Store::default());
        let a: Vec<Outcome> = log.iter().flat_map(|s| one.command(Kind::Appends(vec![s.clone()]))).collect();
        let b: Vec<Outcome> = log.chunks(cut).flat_map(|c| many.command(Kind::Appends(c.to_vec()))).collect();
        prop_assert_eq!(a, b);
        prop_assert_eq!(&one.meta, &many.meta);
        prop_assert_eq!(&one.rows, &many.rows);
    }

    /// Revisions and positions have no gaps, and every batch is stored whole or not at all.
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
        let mut digest = Digest::default();
        let mut blocks: Vec<&Block> = s.rows.blocks.values().collect();
        blocks.sort_by_key(|b| b.first_position);
        for block in blocks {
            prop_assert!(block.follows(&digest));
            digest = block.event_digest;
        }
        prop_assert_eq!(s.meta.event_digest, digest);
    }
}
