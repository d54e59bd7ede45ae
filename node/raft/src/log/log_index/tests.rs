use super::*;
use crate::types::{LeaderId, Payload};
use taffrail_core::ids::{GroupId, ReplicaId};

const MIB: usize = 1 << 20;

fn entry(term: u64, index: u64) -> Entry {
    let log_id = LogId { leader_id: LeaderId { term, node_id: 1 }, index };
    Entry { log_id, payload: Payload::Blank }
}

fn filled(indexes: std::ops::Range<u64>, bytes: usize) -> LogIndex {
    let mut log = LogIndex::default();
    indexes.for_each(|index| log.push(entry(1, index), bytes));
    log
}

fn cached(log: &LogIndex, from: u64, to: u64) -> Vec<u64> {
    match log.lookup(from, to, usize::MAX) {
        Lookup::Cached(entries) => entries.iter().map(|e| e.log_id.index).collect(),
        Lookup::OnDisk { to, .. } => panic!("{from}..{to} is on disk only"),
    }
}

fn on_disk(log: &LogIndex, from: u64, to: u64) -> u64 {
    match log.lookup(from, to, usize::MAX) {
        Lookup::Cached(entries) => panic!("{} entries are in memory", entries.len()),
        Lookup::OnDisk { to, .. } => to,
    }
}

#[test]
fn only_synced_payloads_leave_the_memory() {
    let mut log = filled(0..20, MIB);
    assert_eq!((log.cached_bytes(), cached(&log, 0, 20).len()), (20 * MIB, 20), "nothing is synced");
    log.set_synced(5, log.version());
    assert_eq!((log.cached_bytes(), on_disk(&log, 0, 20)), (15 * MIB, 5));
    assert_eq!(cached(&log, 5, 20).len(), 15, "the unsynced payloads stay");
    log.set_synced(20, log.version());
    assert_eq!((log.cached_bytes(), on_disk(&log, 0, 20)), (CACHE_BYTES_MAX, 12));
    assert_eq!(log.total_bytes(), 20 * MIB as u64);
}

#[test]
fn the_last_payload_stays_even_if_it_is_larger_than_the_cache() {
    let mut log = filled(0..2, 2 * CACHE_BYTES_MAX);
    log.set_synced(2, log.version());
    assert_eq!(cached(&log, 1, 2), [1]);
    assert_eq!(log.cached_bytes(), 2 * CACHE_BYTES_MAX);
}

#[test]
fn a_sync_from_before_a_truncation_says_nothing_about_the_entries_after_it() {
    let mut log = filled(0..10, MIB);
    let before = log.version();
    log.truncate(5);
    (5..20).for_each(|index| log.push(entry(2, index), MIB));
    log.set_synced(10, before);
    assert_eq!(log.cached_bytes(), 20 * MIB, "entries 5 to 9 of term 2 are not synced");
    log.set_synced(6, log.version());
    assert_eq!(log.cached_bytes(), 14 * MIB);
}

#[test]
fn sizes_follow_truncations_and_purges() {
    let mut log = filled(0..10, MIB);
    log.set_synced(10, log.version());
    assert_eq!(on_disk(&log, 0, 10), 2);
    log.purge(entry(1, 0).log_id);
    assert_eq!((log.cached_bytes(), log.total_bytes()), (8 * MIB, 9 * MIB as u64));
    log.purge(entry(1, 3).log_id);
    assert_eq!((log.cached_bytes(), log.total_bytes()), (6 * MIB, 6 * MIB as u64));
    log.truncate(6);
    assert_eq!((log.cached_bytes(), log.total_bytes(), log.end()), (2 * MIB, 2 * MIB as u64, 6));
    log.purge(entry(1, 40).log_id);
    assert_eq!((log.cached_bytes(), log.total_bytes()), (0, 0));
    assert_eq!((log.first(), log.end(), log.last()), (41, 41, Some(entry(1, 40).log_id)));
    assert_eq!(log.grown_bytes(), 10 * MIB as u64);
}

#[test]
fn an_entry_that_the_disk_lacks_or_confuses_is_an_error() {
    let mut log = filled(0..10, MIB);
    log.set_synced(10, log.version());
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(1) };
    assert!(log.check(key, 0, &[entry(1, 0), entry(1, 1)]).is_ok());
    assert!(matches!(log.check(key, 0, &[]), Err(ReadError::Missing { index: 0, .. })));
    for wrong in [entry(2, 1), entry(1, 2)] {
        let read = [entry(1, 0), wrong];
        assert!(matches!(log.check(key, 0, &read), Err(ReadError::Other { index: 1, .. })));
    }
}

#[test]
fn a_read_from_memory_ends_at_its_size_and_has_at_least_one_entry() {
    let log = filled(0..4, MIB);
    let read = |bytes_max| match log.lookup(1, 9, bytes_max) {
        Lookup::Cached(entries) => entries.iter().map(|e| e.log_id.index).collect::<Vec<_>>(),
        Lookup::OnDisk { .. } => panic!("all payloads are in memory"),
    };
    assert_eq!(read(usize::MAX), [1, 2, 3]);
    assert_eq!(read(2 * MIB), [1, 2], "an exact fit");
    assert_eq!(read(2 * MIB - 1), [1]);
    assert_eq!(read(0), [1]);
}

#[test]
fn a_read_outside_the_log_finds_nothing() {
    let mut log = filled(0..6, MIB);
    log.purge(entry(1, 1).log_id);
    for (from, to) in [(1, 4), (6, 9), (4, 4), (4, 3)] {
        assert_eq!(cached(&log, from, to), [0; 0], "{from}..{to}");
    }
    assert_eq!(cached(&log, 2, 3), [2]);
}

#[test]
fn truncations_and_purges_make_an_earlier_read_from_disk_worthless() {
    let mut log = filled(0..6, MIB);
    let mut versions = vec![log.version()];
    log.purge(entry(1, 0).log_id);
    versions.push(log.version());
    log.purge(entry(1, 1).log_id);
    versions.push(log.version());
    log.truncate(4);
    versions.push(log.version());
    for (n, version) in versions.iter().enumerate() {
        assert!(!versions[..n].contains(version), "{versions:?}");
    }
}

#[test]
fn a_recovered_log_is_synced_and_begins_after_the_purge() {
    let info = |index| EntryInfo { log_id: entry(1, index).log_id, bytes: MIB };
    let purged = Some(entry(1, 4).log_id);
    let mut log = LogIndex::new(Recovered { vote: None, purged, entries: vec![info(5), info(6)] });
    assert_eq!((log.first(), log.end(), log.purged(), log.last()), (5, 7, purged, Some(info(6).log_id)));
    let bytes = (log.cached_bytes(), log.total_bytes(), log.grown_bytes());
    assert_eq!(bytes, (0, 2 * MIB as u64, 2 * MIB as u64));
    (7..17).for_each(|index| log.push(entry(1, index), MIB));
    assert_eq!(log.cached_bytes(), 10 * MIB, "the new payloads are not synced");
    assert_eq!(on_disk(&log, 5, 9), 7);
    assert_eq!(log.infos_from(6).map(|i| i.log_id.index).collect::<Vec<_>>(), (6..17).collect::<Vec<_>>());
}
