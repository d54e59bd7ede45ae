//! Gap rows, which stand for removed blocks: replicas open, read and catch up across gaps.

use super::harness::*;
use crate::store::{
    catch_up::{self, Wanted},
    codec,
    data_row::DataRow,
    error::Error,
    schema::{self, Family},
    state_db::Batch,
};
use bytes::Bytes;
use std::ops::Range;
use taffrail_core::{
    event::RecordedEvent,
    ids::{Digest, Position},
    stream::Gap,
};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_raft::machine::{Machine, MachineError};
use taffrail_store_api::{Direction, PageBounds, StoreReader};

fn rows(of: &Replica) -> Vec<DataRow> {
    let (from, to) = schema::partition_bounds(PARTITION);
    let view = of.db.view();
    let rows = view.rising(Family::Data, &from, &to).unwrap();
    rows.map(|row| codec::decode_data_row(Bytes::from(row.unwrap().1.into_vec())).unwrap()).collect()
}

/// Replaces rows by a gap, as the removal of old events will do. Returns the gap.
pub(super) fn remove(of: &Replica, which: Range<usize>) -> Gap {
    let rows = &rows(of)[which];
    let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
    let (first_position, next_position) = (first.first_position(), last.next_position());
    let events = next_position - first_position.get();
    let gap = Gap { first_position, next_position, event_digest: last.event_digest(), events };
    let mut batch = Batch::default();
    for row in rows {
        batch.delete(Family::Data, schema::data(PARTITION, row.first_position()));
        if let DataRow::Block(block) = row {
            batch.delete(Family::Stream, schema::stream(PARTITION, block.stream_no, block.first_revision));
        }
    }
    of.db.write(batch).unwrap();
    let mut batch = Batch::default();
    batch.put(Family::Data, schema::data(PARTITION, first_position), codec::encode_gap(&gap));
    of.db.write(batch).unwrap();
    of.db.flush().unwrap();
    gap
}

fn outside(gap: Gap, events: &[RecordedEvent]) -> Vec<RecordedEvent> {
    let inside = gap.first_position.get()..gap.next_position;
    events.iter().filter(|e| !inside.contains(&e.position.get())).cloned().collect()
}

pub(super) fn sent(source: &Replica, target: &Replica) -> Result<Vec<CatchUpChunk>, Error> {
    let point = target.machine.catch_up_point();
    let wanted =
        Wanted { group: GROUP, partition: PARTITION, next_position: point.next_position, digest: point.digest };
    let mut out = Vec::new();
    catch_up::walk(&source.db, wanted, 1500, &mut |chunk| {
        out.push(chunk);
        true
    })?;
    Ok(out)
}

fn install(target: &mut Replica, chunks: &[CatchUpChunk]) -> Result<(), MachineError> {
    target.machine.begin_install()?;
    chunks.iter().try_for_each(|chunk| target.machine.install(chunk.clone()))?;
    target.machine.finish_install()
}

#[test]
fn a_store_opens_reads_and_goes_on_with_gaps_at_either_end_and_between() {
    let log = log(41, 80);
    for which in ["start", "middle", "end", "all"] {
        let whole = Replica::with(&log[..60]);
        let all = whole.events();
        let end = rows(&whole).len();
        let range = match which {
            "start" => 0..5,
            "middle" => 5..9,
            "end" => end - 4..end,
            _ => 0..end,
        };
        let gap = remove(&whole, range);
        let mut replica = whole.crash().unwrap();
        let kept = outside(gap, &all);
        assert!(kept.len() < all.len());
        assert_eq!(replica.events(), kept, "{which}");
        let bounds = PageBounds { events_max: 3, bytes_max: usize::MAX };
        for direction in [Direction::Forward, Direction::Backward] {
            let (mut paged, mut from) = (Vec::new(), None);
            loop {
                let page = replica.reader().read_all(from, direction, bounds).unwrap();
                paged.extend(page.events);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            if direction == Direction::Backward {
                paged.reverse();
            }
            assert_eq!(paged, kept, "{which} {direction:?}");
        }
        let inside = Position::new(gap.first_position.get() + 1);
        let page = replica.reader().read_all(inside, Direction::Forward, bounds).unwrap();
        assert!(page.events.iter().all(|e| e.position.get() >= gap.next_position), "{which}");
        let mut complete = Replica::with(&log[..60]);
        assert_eq!(replica.machine.apply(&log[60..]).unwrap(), complete.machine.apply(&log[60..]).unwrap());
        assert_eq!(replica.machine.digest(), complete.machine.digest());
        replica.machine.flush().unwrap();
        assert_eq!(replica.crash().unwrap().events(), outside(gap, &complete.events()), "{which}");
    }
}

#[test]
fn counters_that_do_not_follow_from_a_gap_are_refused() {
    let replica = Replica::with(&log(42, 60));
    let end = rows(&replica).len();
    let gap = remove(&replica, end - 4..end);
    let mut batch = Batch::default();
    let changed = Gap { event_digest: Digest([7; 32]), ..gap };
    batch.put(Family::Data, schema::data(PARTITION, gap.first_position), codec::encode_gap(&changed));
    replica.db.write(batch).unwrap();
    replica.db.flush().unwrap();
    assert!(matches!(replica.crash(), Err(Error::Digest { .. })));
}

#[test]
fn a_catch_up_carries_the_gaps_of_its_source() {
    let log = log(43, 80);
    let mut source = Replica::with(&log);
    remove(&source, 0..6);
    remove(&source, 9..12);
    for had in [0, 70] {
        let mut target = Replica::with(&log[..had]);
        let kept = if had == 0 { Vec::new() } else { target.events() };
        let chunks = sent(&source, &target).unwrap();
        install(&mut target, &chunks).unwrap();
        target = target.crash().unwrap();
        assert_eq!(target.machine.digest(), source.machine.digest());
        assert_eq!(target.machine.catch_up_point().digest, source.machine.catch_up_point().digest);
        // A receiver beyond the gaps keeps its own events there.
        let complete = Replica::with(&log).events();
        let expected = if had == 0 { source.events() } else { complete };
        assert!(expected.starts_with(&kept));
        assert_eq!(target.events(), expected, "had {had}");
    }
    // The receiver is a source as good as any, whichever rows the next receiver has.
    source = {
        let mut blank = Replica::new();
        install(&mut blank, &sent(&source, &Replica::new()).unwrap()).unwrap();
        blank
    };
    let mut third = Replica::with(&log[..60]);
    let chunks = sent(&source, &third).unwrap();
    install(&mut third, &chunks).unwrap();
    assert_eq!(third.machine.digest(), source.machine.digest());
}

/// Removes the first event of each append with several events, as the removal of old events will do. Returns the positions of
/// the removed events.
fn shorten(of: &Replica) -> Vec<u64> {
    let (mut batch, mut removed) = (Batch::default(), Vec::new());
    for row in rows(of) {
        let DataRow::Block(block) = row else { continue };
        let position = block.first_position;
        if let Some(shorter) = block.without_start(1) {
            batch.put(Family::Data, schema::data(PARTITION, position), codec::encode_block(&shorter));
            removed.push(position.get());
        }
    }
    of.db.write(batch).unwrap();
    of.db.flush().unwrap();
    removed
}

#[test]
fn a_store_opens_reads_goes_on_and_catches_up_with_appends_that_lack_their_first_events() {
    let log = log(45, 80);
    let whole = Replica::with(&log[..60]);
    let all = whole.events();
    let removed = shorten(&whole);
    assert!(removed.len() > 3, "the log has appends with several events");
    let remaining = |events: &[RecordedEvent]| {
        events.iter().filter(|e| !removed.contains(&e.position.get())).cloned().collect::<Vec<_>>()
    };
    let mut source = whole.crash().unwrap();
    assert_eq!(source.events(), remaining(&all));
    let bounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
    for direction in [Direction::Forward, Direction::Backward] {
        for stream in all.iter().map(|e| &e.stream) {
            let mut page = source.reader().read_stream(stream, None, direction, bounds).unwrap().events;
            if direction == Direction::Backward {
                page.reverse();
            }
            let kept = remaining(&all).into_iter().filter(|e| e.stream == *stream).collect::<Vec<_>>();
            assert_eq!(page, kept, "{stream} {direction:?}");
        }
    }
    let mut complete = Replica::with(&log[..60]);
    assert_eq!(source.machine.apply(&log[60..]).unwrap(), complete.machine.apply(&log[60..]).unwrap());
    assert_eq!(source.machine.digest(), complete.machine.digest());
    source.machine.flush().unwrap();

    let mut target = Replica::new();
    install(&mut target, &sent(&source, &Replica::new()).unwrap()).unwrap();
    let target = target.crash().unwrap();
    assert_eq!(target.machine.digest(), source.machine.digest());
    assert_eq!(target.events(), remaining(&complete.events()));
    let streams = |of: &Replica| {
        let (from, to) = schema::partition_bounds(PARTITION);
        let view = of.db.view();
        let rows = view.rising(Family::Stream, &from, &to).unwrap().map(Result::unwrap);
        rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(streams(&target), streams(&complete), "the rows of appends do not depend on removed events");
}

/// A source with a gap around the end of the receiver: the gap, the source and the receiver.
fn around_the_end(seed: u64) -> (Gap, Replica, Replica, Vec<taffrail_raft::types::Entry>) {
    let log = log(seed, 80);
    let source = Replica::with(&log);
    let target = Replica::with(&log[..40]);
    let end = target.machine.catch_up_point().next_position;
    let at = rows(&source).iter().position(|row| row.first_position().get() == end).unwrap();
    let gap = remove(&source, at - 3..at + 3);
    assert!(gap.first_position.get() < end && end < gap.next_position);
    (gap, source, target, log)
}

#[test]
fn a_receiver_that_ends_within_a_gap_is_compared_at_the_start_of_the_gap() {
    let (gap, source, mut target, log) = around_the_end(44);
    let chunks = sent(&source, &target).unwrap();
    assert_eq!(chunks[0].from_position, gap.first_position.get(), "the rows before stay");
    for killed_after in 0..chunks.len() {
        let mut killed = Replica::with(&log[..40]);
        killed.machine.begin_install().unwrap();
        for chunk in &chunks[..killed_after] {
            killed.machine.install(chunk.clone()).unwrap();
        }
        killed.db.flush().unwrap();
        killed = killed.crash().unwrap();
        assert_eq!(killed.machine.must_refill(), killed_after > 0, "killed after {killed_after}");
        let rest = sent(&source, &killed).unwrap();
        install(&mut killed, &rest).unwrap();
        assert_eq!(killed.events(), source.events(), "killed after {killed_after}");
    }
    install(&mut target, &chunks).unwrap();
    target = target.crash().unwrap();
    assert_eq!(target.dump(), source.dump());
    assert_eq!(target.machine.applied(), source.machine.applied());
}

#[test]
fn another_history_before_a_gap_is_noticed_and_replaced() {
    let (gap, source, _, _) = around_the_end(45);
    let mut target = Replica::with(&log(46, 60));
    let rows = rows(&target);
    // The receiver has another history, and also ends within the gap.
    let keep = rows.iter().rposition(|row| row.next_position() < gap.next_position).unwrap();
    assert!(rows[keep].next_position() > gap.first_position.get(), "the seeds fit");
    let entries = (1..60).find(|n| {
        let end = Replica::with(&log(46, *n)).machine.catch_up_point().next_position;
        gap.first_position.get() < end && end < gap.next_position
    });
    target = Replica::with(&log(46, entries.expect("the seeds fit")));
    let chunks = sent(&source, &target).unwrap();
    assert!(chunks[0].from_position > 1, "the source cannot tell");
    let refused = install(&mut target, &chunks).unwrap_err();
    assert!(refused.to_string().contains("differ from the events of this replica"), "{refused}");
    target.machine.abort_install().unwrap();
    assert!(target.machine.must_refill());
    let chunks = sent(&source, &target).unwrap();
    assert_eq!(chunks[0].from_position, 1);
    install(&mut target, &chunks).unwrap();
    assert_eq!(target.dump(), source.dump());
}
