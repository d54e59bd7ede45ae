mod digests;

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
    appends: BTreeMap<(StreamNo, Revision), AppendRow>,
    repeats: BTreeMap<RepeatKey, RepeatRow>,
}

impl State for Rows {
    type Error = Infallible;
    fn stream(&mut self, name: &StreamName) -> Result<Option<StreamRow>, Infallible> {
        Ok(self.streams.get(name).copied())
    }
    fn append_at(&mut self, stream: StreamNo, first: Revision) -> Result<Option<AppendRow>, Infallible> {
        Ok(self.appends.get(&(stream, first)).copied())
    }
    fn repeat(&mut self, key: &RepeatKey) -> Result<Option<RepeatRow>, Infallible> {
        Ok(self.repeats.get(key).copied())
    }
    fn put_block(&mut self, block: Block, row: AppendRow) {
        self.streams.insert(block.stream.clone(), block.stream_row());
        self.appends.insert((block.stream_no, block.first_revision), row);
        self.blocks.insert((block.stream_no, block.first_revision), block);
    }
    fn put_repeat(&mut self, key: RepeatKey, row: RepeatRow) {
        self.repeats.insert(key, row);
    }
}

#[derive(Default)]
struct Store {
    meta: PartitionMeta,
    rows: Rows,
}

fn settings(version: u64, repeat_window_us: u64, closed: bool) -> Kind {
    Kind::Settings(Settings { version, repeat_window_us, closed })
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
        occurred_at_us: None,
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
    fn set(&mut self, repeat_window_us: u64, closed: bool) {
        self.command(settings(self.meta.settings_version + 1, repeat_window_us, closed));
    }
    /// Opens `n` buckets by appends to another stream, and returns the recorded time of the last append.
    fn open_buckets(&mut self, n: u64) -> u64 {
        for _ in 0..n {
            let now = self.meta.repeat_bucket_start_us + REPEAT_BUCKET_US;
            let id = 1_000_000 + u128::from(self.meta.repeat_bucket);
            self.append("filler", ANY, &[id], now).unwrap();
        }
        self.meta.last_recorded_at_us
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
    assert_eq!(s.meta.last_position().get(), 0, "no event");
    let a = s.append("a", NONE, &[1, 2], 10).unwrap();
    assert_eq!((a.first_revision.get(), a.last_revision.get()), (0, 1));
    assert_eq!((a.first_position.get(), a.last_position.get()), (1, 2));
    assert_eq!(s.meta.last_position(), a.last_position);
    let b = s.append("b", ANY, &[3], 10).unwrap();
    assert_eq!((b.first_revision.get(), b.first_position.get()), (0, 3));
    assert_eq!(s.meta.last_position(), b.last_position);
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
    let now = s.open_buckets(LATER_BUCKETS + 1);
    assert!(!s.append("a", ANY, &[4], now).unwrap().repeated, "the first id is no longer recognised");
    for (expected, ids, was) in [(NONE, &[1, 2][..], first), (exact(1), &[3], second)] {
        assert_eq!(s.append("a", expected, ids, now).unwrap(), Appended { repeated: true, ..was });
    }
}

/// Buckets opened after the bucket of a row while the row counts, with the default window.
const LATER_BUCKETS: u64 = REPEAT_WINDOW_US / REPEAT_BUCKET_US;

#[test]
fn a_retry_is_recognised_by_its_first_id_within_the_window_only() {
    for expected in [ANY, EXISTS, exact(7)] {
        let mut s = Store::default();
        let first = s.append("a", ANY, &[1, 2], 1_000).unwrap();
        let now = s.open_buckets(LATER_BUCKETS);
        let again = s.append("a", expected, &[1, 2], now).unwrap();
        assert_eq!(again, Appended { repeated: true, ..first });
        for ids in [&[1, 3][..], &[1]] {
            let reused = s.append("a", expected, ids, now).unwrap_err();
            assert!(matches!(reused, Rejected::IdReused { .. }), "{ids:?}");
        }
        let now = s.open_buckets(1);
        match s.append("a", expected, &[1, 2], now) {
            Ok(new) => assert!(!new.repeated, "a row of an older bucket does not count"),
            Err(refused) => assert!(matches!(refused, Rejected::WrongRevision { .. }), "{refused}"),
        }
    }
}

/// A retry after a long silence still gets the first answer: only appends open buckets.
#[test]
fn time_without_appends_ages_nothing() {
    let mut s = Store::default();
    s.append("a", ANY, &[1], 1_000).unwrap();
    let year_us = 365 * 24 * 3600 * 1_000_000;
    assert!(s.append("a", ANY, &[1], year_us).unwrap().repeated);
    assert!(s.append("a", EXISTS, &[1], 2 * year_us).unwrap().repeated, "a repeat opens no bucket");
}

/// A successor whose clock is ahead by any amount opens a single bucket.
#[test]
fn a_clock_that_jumps_does_not_empty_the_window() {
    let mut s = Store::default();
    s.append("a", ANY, &[1], 1_000).unwrap();
    let in_2099 = 4_070_908_800_000_000;
    assert!(!s.append("a", ANY, &[2], in_2099).unwrap().repeated);
    assert!(s.append("a", ANY, &[1], in_2099 + 1).unwrap().repeated);
    assert!(s.append("a", ANY, &[2], 2_000).unwrap().repeated, "and back");
    assert_eq!(s.meta.repeat_bucket, 1);
}

#[test]
fn a_new_bucket_is_opened_after_the_length_of_a_bucket_and_not_before() {
    let mut s = Store::default();
    let start = 50 * REPEAT_BUCKET_US;
    for (id, (stamp_us, bucket)) in
        [(start, 1), (start + REPEAT_BUCKET_US - 1, 1), (start + REPEAT_BUCKET_US, 2), (start, 2)]
            .into_iter()
            .enumerate()
    {
        s.append("a", ANY, &[id as u128 + 1], stamp_us).unwrap();
        assert_eq!(s.meta.repeat_bucket, bucket, "{stamp_us}");
    }
    assert_eq!(s.meta.repeat_bucket_start_us, start + REPEAT_BUCKET_US);
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
    s.set(REPEAT_WINDOW_US, true);
    assert_eq!(s.append("a", ANY, &[1], 0), Err(Rejected::Closed));
    s.set(REPEAT_WINDOW_US, false);
    assert!(s.append("a", ANY, &[1], 0).is_ok());
}

#[test]
fn settings_of_an_older_or_equal_version_change_nothing() {
    let mut s = Store::default();
    s.command(settings(5, REPEAT_WINDOW_US, true));
    let before = s.meta.clone();
    for version in [0, 4, 5] {
        s.command(settings(version, 0, false));
        assert_eq!(s.meta, before, "version {version}");
    }
    s.command(settings(6, 0, false));
    assert_eq!((s.meta.settings_version, s.meta.repeat_window_us, s.meta.closed), (6, 0, false));
}

#[test]
fn a_retry_in_a_closed_store_still_gets_the_first_answer() {
    let mut s = Store::default();
    let first = s.append("a", ANY, &[1], 0).unwrap();
    let second = s.append("a", exact(0), &[2], 0).unwrap();
    s.set(REPEAT_WINDOW_US, true);
    for (expected, id, was) in [(ANY, 1, first), (NONE, 1, first), (exact(0), 2, second)] {
        let again = s.append("a", expected, &[id], 1).unwrap();
        assert!(again.repeated);
        assert_eq!(Appended { repeated: false, ..again }, was);
    }
    assert_eq!(s.append("a", exact(0), &[3], 1), Err(Rejected::Closed));
}

/// A narrower window applies at once. A wider window never makes a row count again, because the row may be gone.
#[test]
fn a_change_of_the_window_never_revives_a_row() {
    let buckets = |n: u64| n * REPEAT_BUCKET_US;
    for (before, after, counts) in [(4, 4, true), (4, 8, true), (8, 4, true), (4, 2, false), (2, 8, false)] {
        let mut s = Store::default();
        s.set(buckets(before), false);
        s.append("a", ANY, &[1], buckets(1)).unwrap();
        let now = s.open_buckets(3);
        s.set(buckets(after), false);
        assert_eq!(s.append("a", ANY, &[1], now).unwrap().repeated, counts, "{before} to {after}");
    }
}

#[test]
fn the_window_is_bounded() {
    let mut s = Store::default();
    s.set(u64::MAX, false);
    assert_eq!(s.meta.repeat_window_us, REPEAT_WINDOW_MAX_US);
}

/// Every binary judges a command by the rules in force, and never applies a command proposed under later rules.
#[test]
fn a_command_above_the_rules_in_force_is_refused_until_they_are_raised() {
    let mut s = Store::default();
    let append = Command { rules: 2, kind: Kind::Appends(vec![stamped("a", ANY, &[1], 0)]) };
    let close = Command { rules: 2, kind: settings(1, REPEAT_WINDOW_US, true) };
    let raise = Command { rules: 1, kind: Kind::RaiseRules(2) };
    let mut run = |command| apply_knowing(2, &mut s.meta, &mut s.rows, command);
    assert_eq!(run(&append).unwrap(), [Err(Rejected::UpgradePending { rules: 2, in_force: 1 })]);
    assert!(run(&close).unwrap().is_empty());
    run(&raise).unwrap();
    assert!(run(&append).unwrap()[0].is_ok(), "not closed, and accepted under the raised rules");
    assert_eq!(s.meta.events, 1);
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

/// An append accepted by the model.
struct Accepted {
    stream: String,
    ids: Vec<EventId>,
    appended: Appended,
    /// Number of buckets opened up to the append.
    bucket: usize,
    /// True once the append no longer counts for recognition by id.
    forgotten: bool,
}

/// Reference model of a store: a list of all accepted batches, searched from the end.
#[derive(Default)]
struct Model {
    accepted: Vec<Accepted>,
    window: u64,
    closed: bool,
    /// Recorded times of the appends that opened a bucket.
    opened: Vec<u64>,
}

impl Model {
    fn new() -> Self {
        Self { window: REPEAT_WINDOW_US, ..Self::default() }
    }

    fn set(&mut self, window: u64, closed: bool) {
        (self.window, self.closed) = (window, closed);
        self.forget();
    }

    fn forget(&mut self) {
        let later = usize::try_from(self.window.div_ceil(REPEAT_BUCKET_US)).unwrap();
        for a in &mut self.accepted {
            a.forgotten |= self.opened.len() - a.bucket > later;
        }
    }

    /// Returns the repeated append, if any; an error if another batch has the same first id.
    fn repeat(&self, s: &Stamped, ids: &[EventId]) -> Result<Option<Appended>, Rejected> {
        let mine = || self.accepted.iter().filter(|a| a.stream == s.append.stream.as_str());
        if let Some(newest) = mine().rfind(|a| a.ids[0] == ids[0]).filter(|a| !a.forgotten) {
            let reused = || Rejected::IdReused { stream: s.append.stream.clone(), id: ids[0] };
            return if newest.ids == ids { Ok(Some(newest.appended)) } else { Err(reused()) };
        }
        let place = match s.append.expected {
            NONE => 0,
            ExpectedRevision::Exact(r) => r.get() + 1,
            ANY | EXISTS => return Ok(None),
        };
        Ok(mine().find(|a| a.appended.first_revision.get() == place && a.ids == ids).map(|a| a.appended))
    }

    fn append(&mut self, s: &Stamped) -> Outcome {
        let stream = s.append.stream.to_string();
        let ids: Vec<EventId> = s.append.events.iter().map(|e| e.id).collect();
        let last = self.accepted.last().map(|a| a.appended);
        let now = s.stamp_us.max(last.map_or(0, |a| a.recorded_at_us));
        if let Some(was) = self.repeat(s, &ids)? {
            return Ok(Appended { repeated: true, ..was });
        }
        if self.closed {
            return Err(Rejected::Closed);
        }
        let tail = self.accepted.iter().rfind(|a| a.stream == stream).map(|a| a.appended.last_revision);
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
        if now >= self.opened.last().copied().unwrap_or(0) + REPEAT_BUCKET_US {
            self.opened.push(now);
        }
        self.accepted.push(Accepted { stream, ids, appended, bucket: self.opened.len(), forgotten: false });
        self.forget();
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
                    s.set(repeat_window_us, closed);
                    model.set(repeat_window_us, closed);
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
        prop_assert_eq!(s.meta.repeat_bucket, model.opened.len() as u64);
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
        for block in s.rows.blocks.values() {
            prop_assert_eq!(s.rows.appends[&(block.stream_no, block.first_revision)], block.append_row());
        }
        for (name, row) in &s.rows.streams {
            let mine = s.rows.blocks.values().filter(|b| b.stream == *name).flat_map(|b| &b.events);
            prop_assert_eq!(row.bytes, mine.map(|e| e.size() as u64).sum::<u64>());
        }
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
