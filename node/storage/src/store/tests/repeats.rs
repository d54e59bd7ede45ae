//! Removal of repeat rows by compaction.

use super::{gaps, harness::*};
use crate::store::{
    catch_up::{self, Wanted},
    codec,
    schema::{self, Family},
};
use taffrail_core::{
    append::ExpectedRevision,
    ids::Digest,
    limits::REPEAT_WINDOW_US,
    stream::{Kind, Stamped},
};
use taffrail_raft::{
    machine::Machine,
    types::{Entry, Reply},
};

/// An append with one event; the recorded times of two appends are a whole window apart, so each append opens a bucket.
fn append(n: u64) -> Stamped {
    stamped("orders", ExpectedRevision::Any, vec![event(n, 1)], 1_700_000_000_000_000 + n * REPEAT_WINDOW_US)
}

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|n| entry(n, Kind::Appends(vec![append(n)]))).collect()
}

/// Returns the buckets of all repeat rows in the database, and the lowest bucket that counts.
fn buckets(r: &Replica) -> (Vec<u64>, u64) {
    let view = r.db.view();
    let (from, to) = schema::partition_bounds(PARTITION);
    let rows = view.rising(Family::Dedup, &from, &to).unwrap();
    let mut buckets: Vec<u64> = rows.map(|row| codec::decode_repeat(&row.unwrap().1).unwrap().bucket).collect();
    buckets.sort_unstable();
    let meta = view.get(Family::Meta, &schema::partition_meta(PARTITION)).unwrap().unwrap();
    (buckets, codec::decode_partition(&meta).unwrap().repeat_floor)
}

fn repeated(r: &mut Replica, index: u64, of: u64) -> bool {
    let again = Stamped { stamp_us: 0, ..append(of) };
    let replies = r.machine.apply(&[entry(index, Kind::Appends(vec![again]))]).unwrap();
    let Reply::Appends(outcomes) = &replies[0] else { panic!("{replies:?}") };
    outcomes[0].as_ref().unwrap().repeated
}

#[test]
fn compaction_removes_the_rows_that_do_not_count_in_the_flushed_state_and_no_other() {
    let mut r = Replica::new();
    r.machine.apply(&entries(0..12)).unwrap();
    r.db.compact(Family::Dedup);
    let (rows, floor) = buckets(&r);
    assert!(rows.len() == 12 && floor > 1, "{rows:?}, {floor}: before a flush, a crash would apply the entries again");

    r.machine.flush().unwrap();
    r.db.compact(Family::Dedup);
    assert_eq!(buckets(&r).0, (floor..=12).collect::<Vec<_>>());
    assert!(repeated(&mut r, 12, 11), "the newest row");
    assert!(repeated(&mut r, 13, floor - 1), "the append in the lowest bucket that counts");
    assert!(!repeated(&mut r, 14, floor - 2), "an append below");

    // After a restart, the floor is known before any flush.
    let mut r = r.crash().unwrap();
    r.machine.apply(&entries(12..24)).unwrap();
    r.machine.flush().unwrap();
    let mut r = r.crash().unwrap();
    r.db.compact(Family::Dedup);
    let (rows, floor) = buckets(&r);
    assert_eq!(rows, (floor..=24).collect::<Vec<_>>());
    assert!(repeated(&mut r, 24, 23));
}

/// A view that is being sent to another replica keeps every row that counts in the view, whatever is applied, flushed and
/// compacted meanwhile.
#[test]
fn a_catch_up_sends_every_row_that_counts_in_its_view() {
    let mut source = Replica::with(&entries(0..12));
    let (_, floor) = buckets(&source);
    let wanted = Wanted { group: GROUP, partition: PARTITION, next_position: 1, digest: Digest::default() };
    let (mut sent, mut compacted) = (Vec::new(), false);
    let db = std::sync::Arc::clone(&source.db);
    catch_up::walk(&db, wanted, 100, &mut |chunk| {
        if !compacted {
            // The walk has its view, and has not read the repeat rows yet.
            source.machine.apply(&entries(12..30)).unwrap();
            source.machine.flush().unwrap();
            db.compact(Family::Dedup);
            compacted = true;
        }
        if chunk.family == Family::Dedup as u32 {
            sent.extend(chunk.rows.iter().map(|row| codec::decode_repeat(&row.value).unwrap().bucket));
        }
        true
    })
    .unwrap();
    assert!(compacted);
    for bucket in floor..=12 {
        assert!(sent.contains(&bucket), "bucket {bucket} of {sent:?}");
    }
    // Nothing is held any more.
    db.compact(Family::Dedup);
    let (rows, floor) = buckets(&source);
    assert_eq!(rows, (floor..=30).collect::<Vec<_>>());
}

/// The receiver has opened more buckets than the source, so the floor of the receiver is higher. The source has removed
/// the events around the end of the receiver, so the receiver deletes its events from the gap on.
#[test]
fn a_receiver_that_deletes_its_last_events_keeps_every_row_of_the_source() {
    let in_one_bucket = |n| {
        let at = append(11).stamp_us + n;
        entry(n, Kind::Appends(vec![stamped("orders", ExpectedRevision::Any, vec![event(n, 1)], at)]))
    };
    let other = |n| entry(n, Kind::Appends(vec![Stamped { stamp_us: append(n).stamp_us, ..append(100 + n) }]));
    let source = Replica::with(&entries(0..12).into_iter().chain((12..30).map(in_one_bucket)).collect::<Vec<_>>());
    let mut target = Replica::with(&entries(0..12).into_iter().chain((12..20).map(other)).collect::<Vec<_>>());
    target.machine.flush().unwrap();
    let (rows, floor) = buckets(&source);
    assert!(floor > 1 && buckets(&target).1 > floor, "the floor of the receiver is higher");
    let gap = gaps::remove(&source, 9..25);
    assert!(gap.first_position.get() > 1 && gap.next_position > target.machine.catch_up_point().next_position);

    let chunks = gaps::sent(&source, &target).unwrap();
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().any(|chunk| chunk.family == Family::Dedup as u32), "rows arrive before the counters");
    target.machine.begin_install().unwrap();
    before.iter().for_each(|chunk| target.machine.install(chunk.clone()).unwrap());
    target.db.flush().unwrap();
    target.db.compact(Family::Dedup);
    target.machine.install(last.clone()).unwrap();
    target.machine.finish_install().unwrap();
    let counted = |rows: &[u64]| rows.iter().filter(|bucket| **bucket >= floor).copied().collect::<Vec<_>>();
    assert_eq!(counted(&buckets(&target).0), counted(&rows));
}
