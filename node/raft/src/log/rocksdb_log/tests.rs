use super::*;
use crate::log::write_synced;

fn mark() -> FenceMark {
    let (digest, majority) = (Digest([0xaa; 32]), Digest([0xbb; 32]));
    FenceMark { partition: PartitionId::new(0x0102), index: 0x0304, digest, majority }
}

/// Existing disks contain these bytes, so they must stay readable.
#[test]
fn the_bytes_of_a_fence_mark_are_these() {
    let mut golden = vec![3, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4];
    golden.extend_from_slice(&[0xaa; 32]);
    golden.extend_from_slice(&[0xbb; 32]);
    assert_eq!(encode_mark(&mark()), golden);
    assert_eq!(decode_mark(&golden).unwrap(), mark());
    assert!(decode_mark(&golden[..golden.len() - 1]).is_err());
    golden.push(9);
    assert_eq!(decode_mark(&golden).unwrap(), mark(), "fields of a later version are skipped");
}

/// Existing disks contain these bytes, so they must stay readable.
#[test]
fn the_bytes_of_a_tombstone_are_these() {
    let tombstone = |cleared| Tombstone { partition: PartitionId::new(0x0102), cleared };
    for (cleared, last) in [(false, 0), (true, 1)] {
        let mut golden = vec![2, 1, 0, 0, 0, 0, 0, 0, 1, 2, last];
        assert_eq!(encode_tombstone(tombstone(cleared)), golden);
        assert_eq!(decode_tombstone(&golden).unwrap(), tombstone(cleared));
        golden.push(9);
        assert_eq!(decode_tombstone(&golden).unwrap(), tombstone(cleared), "fields of a later version are skipped");
    }
    for damaged in [&[2][..], &[2, 1], &[2, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0], &[2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 7]] {
        assert!(decode_tombstone(damaged).is_err(), "{damaged:?}");
    }
}

#[tokio::test]
async fn a_tombstone_outlives_the_process_and_says_whether_rows_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    for cleared in [false, true] {
        let log = open();
        let tombstone = Tombstone { partition: PartitionId::new(3), cleared };
        write_synced(&log, key, LogOp::Deleted(tombstone)).await.unwrap();
        rt::blocking(move || log.close()).await.unwrap();
        let log = open();
        assert_eq!(log.replicas().await.unwrap(), [(key, ReplicaState::Deleted(tombstone))]);
        rt::blocking(move || log.close()).await.unwrap();
    }
}

#[tokio::test]
async fn a_fence_outlives_the_process_keeps_the_log_and_ends_with_the_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    let log = open();
    write_synced(&log, key, LogOp::Created(mark().partition)).await.unwrap();
    write_synced(&log, key, LogOp::Append(vec![(1, Bytes::from_static(b"entry"))])).await.unwrap();
    write_synced(&log, key, LogOp::Fenced(mark())).await.unwrap();
    rt::blocking(move || log.close()).await.unwrap();
    let log = open();
    assert_eq!(log.replicas().await.unwrap(), [(key, ReplicaState::Fenced(mark()))]);
    assert_eq!(log.read(key, 0, 9, usize::MAX).await.unwrap().len(), 1);
    let tombstone = Tombstone { partition: mark().partition, cleared: false };
    write_synced(&log, key, LogOp::Deleted(tombstone)).await.unwrap();
    assert_eq!(log.replicas().await.unwrap(), [(key, ReplicaState::Deleted(tombstone))]);
    assert!(log.read(key, 0, 9, usize::MAX).await.unwrap().is_empty());
    rt::blocking(move || log.close()).await.unwrap();
}

/// Writes `count` entries, each in a record of its own, and returns the write-ahead log.
async fn filled(dir: &Path, count: u64) -> std::path::PathBuf {
    let log = RocksdbLog::open(dir, Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    for index in 0..count {
        let entry = (index, Bytes::from(vec![7; 1024]));
        write_synced(&log, key, LogOp::Append(vec![entry])).await.unwrap();
    }
    rt::blocking(move || log.close()).await.unwrap();
    let wal = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "log");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(wal).max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_log_that_has_lost_synced_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wal = filled(dir.path(), 100).await;
    let open = || RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {}));
    let mut bytes = std::fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    assert!(middle > 40 * 1024, "the records are in this file");
    bytes[middle] ^= 0xff;
    std::fs::write(&wal, bytes).unwrap();
    for _ in 0..2 {
        let refused = open().err().expect("a log without half of its records");
        let typed = refused.get_ref().and_then(|e| e.downcast_ref::<FloorError>());
        assert!(matches!(typed, Some(FloorError::Below { .. })), "{refused}");
    }
    // RocksDB itself opens the database, without a word about the lost records.
    let found = DB::open(&Options::default(), dir.path()).unwrap().latest_sequence_number();
    assert!((40..60).contains(&found), "{found} of 100 records are left");
}

#[tokio::test]
async fn a_torn_record_above_the_floor_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 10).await);
    let floor = std::fs::read(dir.path().join("FLOOR")).unwrap();
    let wal = filled(dir.path(), 10).await;
    // As after a crash: the last write was not synced, so the floor does not cover the write.
    std::fs::write(dir.path().join("FLOOR"), floor).unwrap();
    let bytes = std::fs::read(&wal).unwrap();
    std::fs::write(&wal, &bytes[..bytes.len() - 100]).unwrap();
    let log = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    assert_eq!(end_of(&log.db).batch, 19);
    rt::blocking(move || log.close()).await.unwrap();
    let again = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    assert_eq!(end_of(&again.db).batch, 19);
    rt::blocking(move || again.close()).await.unwrap();
}

#[tokio::test]
async fn a_closed_log_has_what_was_submitted_before_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let log = Arc::new(open());
    let key = |replica| LogKey { group: GroupId::new(1), replica: ReplicaId::new(replica) };
    let created = || LogOp::Created(PartitionId::new(1));
    for replica in 0..100 {
        log.submit(key(replica), created(), Box::new(|done| done.unwrap())).await;
    }
    // Other handles outlive the close, because tasks in their last steps still own handles.
    let other = Arc::clone(&log);
    rt::blocking(move || log.close()).await.unwrap();
    let late = write_synced(&*other, key(100), created()).await.unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    drop(other);
    let found = open().replicas().await.unwrap();
    assert_eq!(found.len(), 100);
}

#[tokio::test]
async fn a_panic_of_the_writer_counts_as_a_failed_write() {
    let dir = tempfile::tempdir().unwrap();
    let (fatal, mut told) = mpsc::channel(1);
    let on_fatal: OnFatal = Arc::new(move |e| fatal.try_send(e.to_string()).unwrap());
    let log = RocksdbLog::open(dir.path(), on_fatal, Arc::new(|_| panic!("planted"))).unwrap();
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    // The answer to the write is lost with the writer.
    log.submit(key, LogOp::Created(PartitionId::new(1)), Box::new(|_| {})).await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), told.recv()).await;
    assert_eq!(told.expect("the panic is reported").as_deref(), Some("the log writer panicked: planted"));
    rt::blocking(move || log.close()).await.unwrap();
}

#[tokio::test]
async fn the_floor_rises_with_every_kind_of_write_never_before_the_sync_and_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    let id = |index| LogId { leader_id: crate::types::LeaderId { term: 1, node_id: 1 }, index };
    let entry = |index| {
        let entry = crate::types::Entry { log_id: id(index), payload: crate::types::Payload::Blank };
        (index, Bytes::from(codec::entry_to(&entry).encode_to_vec()))
    };
    let tombstone = Tombstone { partition: PartitionId::new(3), cleared: true };
    let writes = [
        LogOp::Created(PartitionId::new(3)),
        LogOp::Append(vec![entry(0), entry(1), entry(2)]),
        // The conflicting end of a follower's log.
        LogOp::Truncate(2),
        LogOp::Purge(id(0)),
        LogOp::Fenced(mark()),
        LogOp::Deleted(tombstone),
    ];
    let mut log = open();
    assert_eq!(log.floor(), Floor::default());
    for op in writes {
        let before = log.floor();
        // The place is raised before the caller learns of the sync, and only by the sync.
        let (tx, rx) = tokio::sync::oneshot::channel();
        let seen = Arc::downgrade(&log);
        let done = move |synced: io::Result<()>| drop(tx.send(synced.map(|()| seen.upgrade().map(|log| log.floor()))));
        log.submit(key, op.clone(), Box::new(done)).await;
        let at_sync = rx.await.unwrap().unwrap().unwrap();
        assert!(at_sync > before && log.floor() == at_sync, "{op:?}: {before:?}, {at_sync:?}");
        let closing = Arc::clone(&log);
        rt::blocking(move || closing.close()).await.unwrap();
        drop(log);
        log = open();
        assert!(log.floor() >= at_sync, "{op:?}: {:?} after a restart, {at_sync:?} before", log.floor());
    }
    rt::blocking(move || log.close()).await.unwrap();
}

#[tokio::test]
async fn a_read_from_disk_ends_at_its_size_and_has_at_least_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let log = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let key = |replica| LogKey { group: GroupId::new(1), replica: ReplicaId::new(replica) };
    let ten_bytes = |index: u64| (index, Bytes::from(vec![index.to_le_bytes()[0]; 10]));
    for replica in [6, 7, 8] {
        write_synced(&log, key(replica), LogOp::Append((0..6).map(ten_bytes).collect())).await.unwrap();
    }
    for (from, to, bytes_max, found) in [
        (0, 6, usize::MAX, 0..6),
        (1, 9, 20, 1..3),
        (1, 9, 19, 1..2),
        (1, 9, 0, 1..2),
        (2, 4, usize::MAX, 2..4),
        (6, 9, 9, 6..6),
    ] {
        let read = log.read(key(7), from, to, bytes_max).await.unwrap();
        assert_eq!(read, found.map(ten_bytes).collect::<Vec<_>>(), "{from}..{to}, {bytes_max} bytes");
    }
    rt::blocking(move || log.close()).await.unwrap();
}

#[tokio::test]
async fn a_log_with_a_gap_or_with_an_entry_in_the_wrong_place_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let log = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let stored = |at: u64, index: u64| {
        let log_id = LogId { leader_id: crate::types::LeaderId { term: 1, node_id: 1 }, index };
        let entry = crate::types::Entry { log_id, payload: crate::types::Payload::Blank };
        (at, Bytes::from(codec::entry_to(&entry).encode_to_vec()))
    };
    let logs = [vec![stored(0, 0), stored(1, 1)], vec![stored(0, 0), stored(2, 2)], vec![stored(0, 0), stored(1, 2)]];
    for (replica, (entries, whole)) in (1..).zip(logs.into_iter().zip([true, false, false])) {
        let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(replica) };
        write_synced(&log, key, LogOp::Append(entries)).await.unwrap();
        let recovered = log.recover(key).await;
        assert_eq!(recovered.is_ok(), whole, "{recovered:?}");
    }
    rt::blocking(move || log.close()).await.unwrap();
}

/// Carries out the first write, submits the others during the first sync, and returns the number of all syncs.
async fn syncs_of(writes: Vec<(LogKey, LogOp)>) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let (begun, mut begins) = mpsc::channel(128);
    let (go_on, held) = mpsc::channel::<()>(1);
    let held = std::sync::Mutex::new(held);
    let on_sync: OnSync = Arc::new(move |_| {
        begun.blocking_send(()).unwrap();
        // Ends with the sender, so only the first sync is held back.
        assert_eq!(held.lock().unwrap().blocking_recv(), None);
    });
    let log = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), on_sync).unwrap();
    for (n, (key, op)) in writes.into_iter().enumerate() {
        log.submit(key, op, Box::new(|done| done.unwrap())).await;
        if n == 0 {
            begins.recv().await.unwrap();
        }
    }
    drop(go_on);
    rt::blocking(move || log.close()).await.unwrap();
    let mut syncs = 1;
    while begins.try_recv().is_ok() {
        syncs += 1;
    }
    syncs
}

#[tokio::test]
async fn writes_that_are_queued_during_a_sync_share_the_next_sync() {
    let key = |replica| LogKey { group: GroupId::new(1), replica: ReplicaId::new(replica) };
    let writes = (0..100).map(|replica| (key(replica), LogOp::Created(PartitionId::new(1)))).collect();
    assert_eq!(syncs_of(writes).await, 2, "99 writes were queued during the first sync");
}

#[tokio::test]
async fn a_batch_of_the_full_size_is_written_before_the_next_write() {
    let key = LogKey { group: GroupId::new(1), replica: ReplicaId::new(7) };
    let append = |index, bytes| LogOp::Append(vec![(index, Bytes::from(vec![7; bytes]))]);
    let half = BATCH_BYTES_MAX / 2;
    let mut batch = WriteBatch::default();
    stage(&mut batch, key, append(1, half));
    let full = BATCH_BYTES_MAX - (batch.size_in_bytes() - half);
    for (bytes, syncs) in [(full, 3), (full - 1, 2)] {
        let writes = [(0, 1), (1, bytes), (2, 1)].map(|(index, bytes)| (key, append(index, bytes)));
        assert_eq!(syncs_of(writes.into()).await, syncs, "an entry of {bytes} bytes");
    }
}

#[test]
fn a_failed_batch_ends_the_node_and_each_caller_learns_of_the_failure() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = |who: &'static str| {
        let told = Arc::clone(&told);
        move |e: &io::Error| told.lock().unwrap().push(format!("{who}: {e}"))
    };
    let done = |who| -> crate::log::Done {
        let tell = tell(who);
        Box::new(move |result| tell(&result.unwrap_err()))
    };
    let on_fatal: OnFatal = Arc::new(tell("node"));
    crate::log::fail(vec![done("first"), done("second")], &io::Error::other("full"), &on_fatal);
    assert_eq!(*told.lock().unwrap(), ["node: full", "first: full", "second: full"]);
}
