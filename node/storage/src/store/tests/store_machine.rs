use super::harness::*;
use crate::store::{
    codec,
    error::Error,
    reader::Reader,
    schema::{self, Family},
    state_db::Batch,
    store_machine::{StoreMachine, delete_group},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    append::ExpectedRevision,
    ids::{GroupId, PartitionId, Position, Revision},
    names::StreamName,
    stream::{Kind, PartitionMeta, RULES},
};
use taffrail_raft::machine::{Machine, MachineError};
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReader};

const ALL: PageBounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };

#[test]
fn the_same_log_in_other_slices_gives_the_same_rows_and_replies() {
    let log = log(1, 120);
    let (mut one, mut whole) = (Replica::new(), Replica::new());
    let replies = apply_in_slices(&mut one.machine, &log, 1);
    for size in [7, 120] {
        let mut other = Replica::new();
        assert_eq!(apply_in_slices(&mut other.machine, &log, size), replies, "slices of {size}");
        assert_eq!(other.dump(), one.dump(), "slices of {size}");
        assert_eq!(other.machine.digest(), one.machine.digest());
    }
    whole.machine.apply(&log).unwrap();
    assert_eq!(whole.events(), one.events());
    assert!(one.events().len() > 100, "the log must do something");
    assert_eq!(one.machine.totals(), one.reader().totals().unwrap());
}

#[test]
fn a_crash_leaves_exactly_what_was_flushed_and_the_log_gives_the_rest() {
    let log = log(2, 90);
    let whole = Replica::with(&log);
    for flushed in [0, 1, 30, 89] {
        let mut r = Replica::new();
        r.machine.apply(&log[..flushed]).unwrap();
        r.machine.flush().unwrap();
        let (dump, digest) = (r.dump(), r.machine.digest());
        apply_in_slices(&mut r.machine, &log[flushed..], 9);
        let last = flushed.checked_sub(1).map(|i| i as u64);
        assert_eq!(r.machine.persisted().unwrap().0.map(|id| id.index), last);
        let mut r = r.crash().unwrap();
        assert_eq!(r.applied(), last);
        assert_eq!(r.dump(), dump, "after {flushed}");
        assert_eq!(r.machine.digest(), digest);
        apply_in_slices(&mut r.machine, &log[flushed..], 13);
        assert_eq!(r.dump(), whole.dump());
        assert_eq!(r.machine.digest(), whole.machine.digest());
    }
}

#[test]
fn the_membership_is_that_of_the_applied_entry() {
    let mut r = Replica::with(&[membership(0)]);
    let (applied, stored) = r.machine.applied();
    assert_eq!((applied, *stored.log_id()), (Some(log_id(0)), Some(log_id(0))));
    assert_eq!(stored.voter_ids().collect::<Vec<_>>(), [1, 2]);
    r.machine.apply(&[membership(1)]).unwrap();
    assert_eq!(*r.machine.applied().1.log_id(), Some(log_id(1)));
    assert_eq!(*r.machine.persisted().unwrap().1.log_id(), Some(log_id(0)));
    assert_eq!(*r.crash().unwrap().machine.applied().1.log_id(), Some(log_id(0)));
}

#[test]
fn what_cannot_be_applied_stops_the_machine_and_changes_nothing() {
    let mut r = Replica::with(&log(3, 20));
    let before = (r.dump(), r.applied());
    let good = entry(20, Kind::Appends(vec![stamped("a", ExpectedRevision::Any, vec![event(1, 1)], 0)]));
    let append = |rules| {
        let kind = Kind::Appends(vec![stamped("a", ExpectedRevision::Any, vec![event(1, 1)], 0)]);
        codec::encode_command(&taffrail_core::stream::Command { rules, kind })
    };
    // Field 15, unknown to every version.
    let unknown_kind = Bytes::from_static(&[0x08, 1, 0x7a, 0]);
    for (command, unsupported) in [
        (unknown_kind, true),
        (append(RULES + 1), true),
        (
            codec::encode_command(&taffrail_core::stream::Command { rules: RULES, kind: Kind::RaiseRules(RULES + 1) }),
            true,
        ),
        (Bytes::from_static(b"\xff\xff\xff"), false),
        (Bytes::new(), true),
    ] {
        let stopped = r.machine.apply(&[good.clone(), raw_entry(21, command.clone())]).unwrap_err();
        assert_eq!(matches!(stopped, MachineError::Unsupported(_)), unsupported, "{command:?}: {stopped}");
        assert_eq!((r.dump(), r.applied()), before);
    }
    r.machine.apply(&[good]).unwrap();
}

#[test]
fn an_entry_that_does_not_follow_is_refused() {
    let log = log(4, 30);
    let mut r = Replica::with(&log[..10]);
    for wrong in [&log[11..12], &log[9..10]] {
        assert!(matches!(r.machine.apply(wrong), Err(MachineError::Corrupt(_))));
    }
    assert_eq!(r.applied(), Some(9));
    r.machine.apply(&log[10..]).unwrap();
    assert!(matches!(Replica::new().machine.apply(&log[1..2]), Err(MachineError::Corrupt(_))));
}

#[test]
fn damage_is_never_read_as_absence() {
    let r = Replica::with(&log(5, 60));
    let last = r.events().pop().unwrap();
    let (from, to) = schema::partition_bounds(PARTITION);
    let blocks: Vec<_> = r.db.view().rising(Family::Data, &from, &to).unwrap().map(Result::unwrap).collect();
    let (key, good) = blocks.last().unwrap().clone();
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let mut batch = Batch::default();
        batch.put(Family::Data, key.to_vec(), bad);
        r.db.write(batch).unwrap();
        let read = r.reader().read_all(None, Direction::Forward, ALL);
        assert!(matches!(read, Err(ReadError::Corrupt(_))), "byte {at}: {read:?}");
        assert!(r.reader().read_stream(&last.stream, None, Direction::Backward, ALL).is_err(), "byte {at}");
    }
    let why = r.reader().read_all(None, Direction::Forward, ALL).unwrap_err().to_string();
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    assert!(why.contains("data") && why.contains(&hex) && why.contains("checksum"), "{why}");
    r.db.flush().unwrap();
    assert!(matches!(r.crash(), Err(Error::Row { .. })));
}

#[test]
fn a_missing_block_is_damage_too() {
    let r = Replica::with(&log(6, 60));
    let event = r.events().remove(0);
    let mut batch = Batch::default();
    batch.delete(Family::Data, schema::data(PARTITION, event.position));
    r.db.write(batch).unwrap();
    let read = r.reader().read_stream(&event.stream, None, Direction::Forward, ALL);
    assert!(matches!(read, Err(ReadError::Corrupt(_))), "{read:?}");
}

#[test]
fn counters_and_events_of_different_writes_do_not_open() {
    let remove_last = |r: &Replica| {
        let (from, to) = schema::partition_bounds(PARTITION);
        let (key, _) = r.db.view().rising(Family::Data, &from, &to).unwrap().last().unwrap().unwrap();
        let mut batch = Batch::default();
        batch.delete(Family::Data, key.to_vec());
        r.db.write(batch).unwrap();
    };
    let put_meta = |r: &Replica, meta: &PartitionMeta| {
        let mut batch = Batch::default();
        batch.put(Family::Meta, schema::partition_meta(PARTITION), codec::encode_partition(meta));
        r.db.write(batch).unwrap();
    };
    let meta = |r: &Replica| {
        codec::decode_partition(&r.db.get(Family::Meta, &schema::partition_meta(PARTITION)).unwrap().unwrap()).unwrap()
    };
    let open = |r: &Replica| StoreMachine::open(Arc::clone(&r.db), GROUP, PARTITION).map(|_| ());

    let r = Replica::with(&log(7, 40));
    let good = meta(&r);
    open(&r).unwrap();
    put_meta(&r, &PartitionMeta { event_digest: taffrail_core::ids::Digest([1; 32]), ..good.clone() });
    assert!(matches!(open(&r), Err(Error::Digest { .. })));
    put_meta(&r, &PartitionMeta { rules: RULES + 1, ..good.clone() });
    assert!(matches!(open(&r), Err(Error::UnknownRules { .. })));
    put_meta(&r, &good);
    remove_last(&r);
    assert!(matches!(open(&r), Err(Error::Counters { .. })));
}

#[test]
fn a_deleted_group_is_gone_and_its_neighbours_are_not() {
    let log = log(8, 50);
    let mut r = Replica::with(&log);
    let neighbours = [0xfe, 0x100].map(|n| (GroupId::new(n), PartitionId::new(n)));
    for (group, partition) in neighbours {
        StoreMachine::open(Arc::clone(&r.db), group, partition).unwrap().apply(&log).unwrap();
    }
    let before = r.events();
    delete_group(&r.db, GROUP, PARTITION).unwrap();
    delete_group(&r.db, GROUP, PARTITION).unwrap();
    r = r.crash().unwrap();
    assert_eq!((r.applied(), r.dump()), (None, Dump::new()));
    for (group, partition) in neighbours {
        let reader = Reader::new(Arc::clone(&r.db), group, partition);
        assert_eq!(reader.read_all(None, Direction::Forward, ALL).unwrap().events, before);
    }
    // The numbers of a removed group are never reused, but the store name may be reused.
    r.machine.apply(&log).unwrap();
    assert_eq!(r.events(), before);
}

#[test]
fn a_retry_after_a_crash_gets_the_first_answer() {
    let exact = |r| ExpectedRevision::Exact(Revision::new(r).unwrap());
    let tries = [
        stamped("a", ExpectedRevision::NoStream, vec![event(1, 5), event(2, 5)], 10),
        stamped("a", exact(1), vec![event(3, 5)], 11),
        stamped("a", ExpectedRevision::Any, vec![event(4, 5)], 12),
    ];
    let mut r = Replica::with(&[membership(0), entry(1, Kind::Appends(tries.to_vec()))]);
    let positions: Vec<_> = r.events().iter().map(|e| e.position.get()).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    r = r.crash().unwrap();
    let replies = r.machine.apply(&[entry(2, Kind::Appends(tries.to_vec()))]).unwrap();
    let taffrail_raft::types::Reply::Appends(outcomes) = &replies[0] else { panic!("{replies:?}") };
    let firsts: Vec<_> = outcomes.iter().map(|o| o.as_ref().map(|a| (a.repeated, a.first_position.get()))).collect();
    assert_eq!(firsts, [Ok((true, 1)), Ok((true, 3)), Ok((true, 4))]);
    assert_eq!(r.machine.progress().position, Position::new(4).unwrap());
    assert_eq!(r.reader().stream_tail(&StreamName::new("a").unwrap()).unwrap(), Revision::new(3));
}
