use super::harness::*;
use crate::store::{
    catch_up::{self, Wanted},
    codec,
    error::Error,
    schema::{self, Family},
    state_db::{Batch, StateDb},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{event::RecordedEvent, ids::Position, names::StreamName, stream::Kind};
use taffrail_proto::peer::{CatchUpChunk, Row};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    machine::{Machine, MachineError},
};
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReader};

/// Chunk size in bytes, small so that little data makes many chunks.
const CHUNK: usize = 1500;

fn wanted(of: &Replica) -> Wanted {
    let point = of.machine.catch_up_point();
    Wanted { group: GROUP, partition: PARTITION, next_position: point.next_position, digest: point.digest }
}

fn chunks(source: &Replica, wanted: Wanted) -> Result<Vec<CatchUpChunk>, Error> {
    let mut out = Vec::new();
    catch_up::walk(&source.db, wanted, CHUNK, &mut |chunk| {
        out.push(chunk);
        true
    })?;
    Ok(out)
}

fn install(target: &mut Replica, chunks: &[CatchUpChunk]) {
    target.machine.begin_install().unwrap();
    for chunk in chunks {
        target.machine.install(chunk.clone()).unwrap();
    }
    target.machine.finish_install().unwrap();
}

fn read(of: &Replica) -> Result<Vec<RecordedEvent>, ReadError> {
    let bounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
    of.reader().read_all(None, Direction::Forward, bounds).map(|page| page.events)
}

fn is_equal(target: &Replica, source: &Replica) {
    assert_eq!(target.dump(), source.dump());
    assert_eq!(target.machine.digest(), source.machine.digest());
    assert_eq!(target.machine.applied(), source.machine.applied());
    assert_eq!(target.events(), source.events());
}

fn data_rows(chunks: &[CatchUpChunk]) -> usize {
    chunks.iter().filter(|c| c.family == Family::Data as u32).map(|c| c.rows.len()).sum()
}

#[test]
fn a_blank_replica_gets_everything_and_goes_on() {
    let log = log(21, 120);
    let mut source = Replica::with(&log[..100]);
    let mut target = Replica::new();
    let sent = chunks(&source, wanted(&target)).unwrap();
    assert!(sent.len() > 10, "{} chunks", sent.len());
    assert_eq!(sent[0].from_position, 1);
    for chunk in &sent {
        let bytes: usize = chunk.rows.iter().map(|r| r.key.len() + r.value.len()).sum();
        assert!(bytes <= CHUNK || chunk.rows.len() == 1, "{bytes} bytes");
    }
    install(&mut target, &sent);
    is_equal(&target, &source);
    // The installed state is durable, and later entries have the same outcomes on both replicas.
    target = target.crash().unwrap();
    is_equal(&target, &source);
    assert_eq!(target.machine.apply(&log[100..]).unwrap(), source.machine.apply(&log[100..]).unwrap());
    is_equal(&target, &source);
}

#[test]
fn a_replica_that_is_behind_gets_only_the_events_that_it_lacks() {
    let log = log(22, 120);
    let source = Replica::with(&log);
    let mut target = Replica::with(&log[..100]);
    let had = target.machine.catch_up_point().next_position;
    let sent = chunks(&source, wanted(&target)).unwrap();
    assert_eq!(sent[0].from_position, had);
    let all = chunks(&source, wanted(&Replica::new())).unwrap();
    assert!(
        data_rows(&sent) > 0 && data_rows(&sent) * 3 < data_rows(&all),
        "{} of {}",
        data_rows(&sent),
        data_rows(&all)
    );
    install(&mut target, &sent);
    is_equal(&target, &source);
    // Repeats the catch-up with no events to send, then uses the receiver as the source of a third replica: generations
    // change, content does not.
    for _ in 0..3 {
        let sent = chunks(&source, wanted(&target)).unwrap();
        assert_eq!(data_rows(&sent), 0);
        install(&mut target, &sent);
        is_equal(&target, &source);
    }
    let mut third = Replica::new();
    install(&mut third, &chunks(&target, wanted(&Replica::new())).unwrap());
    is_equal(&third, &source);
}

#[test]
fn a_catch_up_killed_anywhere_leaves_the_old_state_and_ends_equal_the_next_time() {
    let log = log(23, 60);
    let source = Replica::with(&log);
    for had in [0, 25] {
        let mut target = Replica::with(&log[..had]);
        let (before, applied) = (target.dump(), target.machine.applied());
        let sent = chunks(&source, wanted(&target)).unwrap();
        assert!(sent.len() > 5);
        for killed_after in 0..sent.len() {
            // Crashes once with no row of the install on disk, once with all received rows.
            for flushed in [false, true] {
                target.machine.begin_install().unwrap();
                for chunk in &sent[..killed_after] {
                    target.machine.install(chunk.clone()).unwrap();
                }
                if flushed {
                    target.db.flush().unwrap();
                }
                target = target.crash().unwrap();
                assert_eq!(target.dump(), before, "killed after {killed_after}, flushed: {flushed}");
                assert_eq!(target.machine.applied(), applied);
            }
        }
        install(&mut target, &sent);
        target = target.crash().unwrap();
        is_equal(&target, &source);
    }
}

#[test]
fn an_aborted_catch_up_leaves_the_old_state_to_the_next_start_and_answers_no_read() {
    let log = log(24, 60);
    let (source, mut target) = (Replica::with(&log), Replica::with(&log[..25]));
    let before = target.dump();
    let sent = chunks(&source, wanted(&target)).unwrap();
    target.machine.begin_install().unwrap();
    assert!(
        matches!(target.machine.apply(&log[25..26]), Err(MachineError::Unsupported(_))),
        "nothing is applied meanwhile"
    );
    assert!(matches!(chunks(&target, wanted(&Replica::new())), Err(Error::Installing)), "nor sent on");
    for chunk in &sent[..sent.len() - 1] {
        target.machine.install(chunk.clone()).unwrap();
    }
    assert!(target.machine.finish_install().is_err(), "without its last chunk it is not whole");
    assert!(matches!(read(&target), Err(ReadError::NotServing(_))));
    target.machine.abort_install().unwrap();
    assert_eq!(target.dump(), before);
    assert!(matches!(read(&target), Err(ReadError::NotServing(_))), "the group is far ahead of this state");
    assert!(matches!(chunks(&target, wanted(&Replica::new())), Err(Error::Installing)));
    assert!(target.machine.apply(&log[25..26]).is_err());
    target = target.crash().unwrap();
    assert_eq!(target.dump(), before);
    read(&target).unwrap();
    target.machine.apply(&log[25..]).unwrap();
    is_equal(&target, &source);
}

#[test]
fn clearing_away_more_than_one_write_takes() {
    let appends = |index: u64| {
        let one =
            |i: u64| stamped("a", taffrail_core::append::ExpectedRevision::Any, vec![event(index << 32 | i, 1)], 0);
        entry(index, Kind::Appends((0..800).map(one).collect()))
    };
    let log: Vec<_> = std::iter::once(membership(0)).chain((1..5).map(appends)).collect();
    let (source, mut target) = (Replica::with(&log), Replica::with(&log[..2]));
    let before = target.dump();
    let sent = chunks(&source, wanted(&target)).unwrap();
    target.machine.begin_install().unwrap();
    for chunk in &sent[..sent.len() - 1] {
        target.machine.install(chunk.clone()).unwrap();
    }
    assert!(data_rows(&sent) > 2048);
    target.db.flush().unwrap();
    target = target.crash().unwrap();
    assert_eq!(target.dump(), before);
}

#[test]
fn another_history_is_replaced_and_never_passes_for_whole_meanwhile() {
    let (ours, theirs) = (log(25, 60), log(26, 80));
    let source = Replica::with(&theirs);
    for killed_after in [0, 1, 3, usize::MAX] {
        let mut target = Replica::with(&ours[..20]);
        let before = target.dump();
        assert!(target.machine.catch_up_point().next_position < source.machine.catch_up_point().next_position);
        let sent = chunks(&source, wanted(&target)).unwrap();
        assert_eq!(sent[0].from_position, 1);
        if killed_after < sent.len() {
            target.machine.begin_install().unwrap();
            for chunk in &sent[..killed_after] {
                target.machine.install(chunk.clone()).unwrap();
            }
            target = target.crash().unwrap();
            if killed_after == 0 {
                assert_eq!(target.dump(), before);
            } else {
                assert_eq!(target.applied(), None);
                assert!(target.machine.must_refill(), "the replica has nothing, and the state says so");
                assert!(matches!(read(&target), Err(ReadError::NotServing(_))), "an empty store was read");
                assert_eq!(target.dump().len(), 1, "the counters of an empty partition");
                assert!(target.machine.apply(&ours[20..21]).is_err(), "and cannot go on where it was");
            }
        }
        let sent = chunks(&source, wanted(&target)).unwrap();
        install(&mut target, &sent);
        is_equal(&target, &source);
        assert!(!target.machine.must_refill());
    }
}

#[test]
fn no_abort_and_no_crash_ends_the_need_for_a_refill() {
    let (ours, theirs) = (log(33, 60), log(34, 80));
    let source = Replica::with(&theirs);
    let mut target = Replica::with(&ours[..20]);
    let refused = |target: &Replica| {
        assert!(target.machine.must_refill());
        let tail = target.reader().stream_tail(&StreamName::new("users").unwrap());
        assert!(matches!(tail, Err(ReadError::NotServing(_))), "{tail:?}");
        let list = target.reader().list_streams("", None, 10);
        assert!(matches!(list, Err(ReadError::NotServing(_))), "{list:?}");
        assert!(matches!(target.reader().totals(), Err(ReadError::NotServing(_))));
        assert!(matches!(read(target), Err(ReadError::NotServing(_))));
        assert!(chunks(target, wanted(&Replica::new())).is_err(), "no other replica gets the empty state");
    };
    for crashes in [false, true, true] {
        let sent = chunks(&source, wanted(&target)).unwrap();
        target.machine.begin_install().unwrap();
        target.machine.install(sent[0].clone()).unwrap();
        target.machine.abort_install().unwrap();
        refused(&target);
        if crashes {
            target = target.crash().unwrap();
            refused(&target);
            assert!(matches!(chunks(&target, wanted(&Replica::new())), Err(Error::MustRefill)));
            assert!(target.machine.apply(&ours[..1]).is_err());
        }
    }
    let sent = chunks(&source, wanted(&target)).unwrap();
    install(&mut target, &sent);
    is_equal(&target, &source);
    target = target.crash().unwrap();
    assert!(!target.machine.must_refill());
    is_equal(&target, &source);
}

#[test]
fn a_source_without_what_is_asked_for_says_so() {
    let log = log(27, 60);
    let (behind, ahead) = (Replica::with(&log[..30]), Replica::with(&log));
    assert!(matches!(chunks(&behind, wanted(&ahead)), Err(Error::Behind { .. })));
    assert!(matches!(chunks(&Replica::new(), wanted(&ahead)), Err(Error::NothingApplied)));
}

#[test]
fn a_damaged_block_is_found_at_its_source() {
    let source = Replica::with(&log(28, 40));
    let key = schema::data(PARTITION, Position::new(1).unwrap());
    let mut row = source.db.get(Family::Data, &key).unwrap().unwrap().to_vec();
    *row.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(Family::Data, key, row);
    source.db.write(batch).unwrap();
    assert!(matches!(chunks(&source, wanted(&Replica::new())), Err(Error::Row { family: "data", .. })));
}

#[test]
fn what_is_not_the_source_s_state_is_refused_and_cleared_away() {
    let source = Replica::with(&log(29, 60));
    let sent = chunks(&source, wanted(&Replica::new())).unwrap();
    let (first, last) = (0, sent.len() - 1);
    // Makes a changed block with a correct checksum.
    let forged = |row: &Row| {
        let mut block = codec::decode_block(row.value.clone()).unwrap();
        block.events[0].data = Bytes::from_static(b"forged");
        Row { key: row.key.clone(), value: codec::encode_block(&block).into() }
    };
    type Spoil<'a> = Box<dyn Fn(&mut Vec<CatchUpChunk>) + 'a>;
    let spoils: Vec<(&str, Spoil<'_>)> = vec![
        ("forged", Box::new(|c| c[first].rows[0] = forged(&c[first].rows[0]))),
        ("damaged", Box::new(|c| c[first].rows[0].value = Bytes::from_static(b"\x01\x00\x00\x00\x00"))),
        ("gap", Box::new(|c| drop(c[first].rows.remove(0)))),
        ("lost chunk", Box::new(|c| drop(c.remove(1)))),
        ("key of another block", Box::new(|c| c[first].rows[0].key = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 9]))),
        ("no start", Box::new(|c| c[first].from_position = 0)),
        ("start above the end", Box::new(|c| c[first].from_position = 2)),
        ("unknown family", Box::new(|c| c[first].family = 99)),
        ("family that does not travel", Box::new(|c| c[first].family = Family::Stream as u32)),
        ("undecodable counters", Box::new(|c| c[last].partition_meta = Bytes::from_static(b"\xff"))),
        ("no counters", Box::new(|c| c[last].partition_meta = Bytes::new())),
        ("undecodable group", Box::new(|c| c[last].group_meta = Bytes::from_static(b"\xff"))),
    ];
    for (what, spoil) in spoils {
        let mut target = Replica::new();
        let before = target.dump();
        let mut bad = sent.clone();
        spoil(&mut bad);
        target.machine.begin_install().unwrap();
        let taken = bad.into_iter().try_for_each(|chunk| target.machine.install(chunk));
        assert!(taken.is_err(), "{what}");
        target = target.crash().unwrap();
        assert_eq!(target.dump(), before, "{what}");
        install(&mut target, &sent);
        is_equal(&target, &source);
    }
}

#[test]
fn a_state_older_than_what_is_applied_is_refused() {
    let source = Replica::with(&log(30, 40));
    let mut target = Replica::with(&log(30, 40));
    target.machine.apply(&[membership(40)]).unwrap();
    target.machine.flush().unwrap();
    let sent = chunks(&source, wanted(&target)).unwrap();
    target.machine.begin_install().unwrap();
    let taken = sent.into_iter().try_for_each(|chunk| target.machine.install(chunk));
    assert!(matches!(taken, Err(MachineError::Corrupt(_))), "{taken:?}");
    assert_eq!(target.crash().unwrap().applied(), Some(40));
}

#[test]
fn a_chunk_out_of_turn_is_refused() {
    let source = Replica::with(&log(31, 20));
    let mut target = Replica::new();
    let sent = chunks(&source, wanted(&target)).unwrap();
    assert!(target.machine.install(sent[0].clone()).is_err());
    assert_eq!(target.dump(), Dump::new());
}

#[tokio::test]
async fn chunks_come_through_a_bounded_queue_and_stop_with_their_receiver() {
    let source = Replica::with(&log(32, 60));
    let mut target = Replica::new();
    let limits = CatchUpLimits::new(u64::MAX);
    let send = |db: &Arc<StateDb>, wanted| catch_up::send(Arc::clone(db), wanted, &limits).unwrap();
    let mut rx = send(&source.db, wanted(&target));
    target.machine.begin_install().unwrap();
    while let Some(chunk) = rx.recv().await {
        target.machine.install(chunk.unwrap()).unwrap();
    }
    target.machine.finish_install().unwrap();
    is_equal(&target, &source);

    drop(send(&source.db, wanted(&Replica::new())));
    let mut rx = send(&Replica::new().db, wanted(&target));
    assert!(rx.recv().await.unwrap().is_err());
    assert!(rx.recv().await.is_none());
}
