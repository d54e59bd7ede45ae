use super::*;
use crate::{
    log::{
        Done, EntryInfo, Recovered, ReplicaState, floor::Floor, log_index::CACHE_BYTES_MAX, rocksdb_log::RocksdbLog,
    },
    types::{Command, Host, LeaderId, Membership},
};
use futures::StreamExt;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
};
use taffrail_core::ids::{GroupId, NodeId, PartitionId, ReplicaId};

const MIB: usize = 1 << 20;
const KEY: LogKey = LogKey { group: GroupId::new(7), replica: ReplicaId::new(1) };

fn id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

#[tokio::test]
async fn what_was_purged_is_answered_with_a_hole_or_an_error_and_never_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let key = KEY;
    let bytes = |index| {
        let entry = Entry { log_id: id(index), payload: Payload::Blank };
        (index, Bytes::from(codec::entry_to(&entry).encode_to_vec()))
    };
    for op in [LogOp::Created(PartitionId::new(1)), LogOp::Append((0..=10).map(bytes).collect())] {
        write_synced(&*disk, key, op).await.unwrap();
    }
    let mut log = LogStorage::open(Arc::clone(&disk) as Arc<dyn LogDisk>, key).await.unwrap();
    log.purge(id(6)).await.unwrap();
    for (start, end, answer) in
        [(7, 9, vec![7, 8]), (3, 9, vec![7, 8]), (3, 7, vec![7]), (2, 5, vec![7]), (7, 7, vec![]), (11, 12, vec![])]
    {
        let entries = log.limited_get_log_entries(start, end).await.unwrap();
        let indexes: Vec<u64> = entries.iter().map(|e| e.log_id.index).collect();
        assert_eq!(indexes, answer, "{start}..{end}");
        let before = start.checked_sub(1).map(id);
        let refused = codec::check_consecutive(before.as_ref(), &entries).is_err();
        assert_eq!(refused, start < 7, "an append with a gap is refused before it is sent");
    }
    log.purge(id(10)).await.unwrap();
    assert_eq!(log.limited_get_log_entries(3, 5).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(indexes(&log.limited_get_log_entries(11, 12).await.unwrap()), [0; 0], "not appended yet");
}

/// A disk whose syncs wait for [`sync`](Self::sync): writes are queued, and reads find only synced entries.
#[derive(Default)]
struct HeldDisk {
    entries: Mutex<BTreeMap<u64, Bytes>>,
    queue: Mutex<VecDeque<(LogOp, Done)>>,
    reads: AtomicUsize,
    /// Size of the largest answer of a read, bytes.
    largest_read: AtomicUsize,
}

impl HeldDisk {
    /// A disk with synced entries `0..count`.
    fn with(count: u64, bytes: usize) -> Arc<Self> {
        let this = Self::default();
        let encode = |index| (index, Bytes::from(codec::entry_to(&entry(index, bytes)).encode_to_vec()));
        this.entries.lock().unwrap().extend((0..count).map(encode));
        Arc::new(this)
    }

    /// Carries out all queued writes; returns their number.
    fn sync(&self) -> usize {
        let queue = std::mem::take(&mut *self.queue.lock().unwrap());
        let count = queue.len();
        for (op, done) in queue {
            let mut entries = self.entries.lock().unwrap();
            match op {
                LogOp::Append(new) => entries.extend(new),
                LogOp::Truncate(from) => drop(entries.split_off(&from)),
                LogOp::Purge(upto) => *entries = entries.split_off(&(upto.index + 1)),
                other @ (LogOp::Created(_) | LogOp::Vote(_) | LogOp::Fenced(_) | LogOp::Deleted(_)) => {
                    panic!("unexpected write {other:?}")
                }
            }
            drop(entries);
            done(Ok(()));
        }
        count
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl LogDisk for HeldDisk {
    async fn submit(&self, _: LogKey, op: LogOp, done: Done) {
        self.queue.lock().unwrap().push_back((op, done));
    }
    async fn read(&self, _: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        // A read takes time, in which other tasks go on.
        tokio::task::yield_now().await;
        let (mut out, mut bytes) = (Vec::new(), 0);
        for (index, entry) in self.entries.lock().unwrap().range(from..to) {
            if !out.is_empty() && bytes + entry.len() > bytes_max {
                break;
            }
            bytes += entry.len();
            out.push((*index, entry.clone()));
        }
        self.largest_read.fetch_max(bytes, Ordering::SeqCst);
        Ok(out)
    }
    async fn recover(&self, _: LogKey) -> io::Result<Recovered> {
        let entries = self.entries.lock().unwrap();
        let entries = entries.values().map(|e| EntryInfo::of(e).unwrap()).collect();
        Ok(Recovered { entries, ..Recovered::default() })
    }
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        Ok(Vec::new())
    }
    fn floor(&self) -> Floor {
        Floor::default()
    }
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { log_id: id(index), payload: Payload::Normal(Command(Bytes::from(vec![7; bytes]))) }
}

async fn open(disk: &Arc<HeldDisk>) -> LogStorage {
    LogStorage::open(Arc::clone(disk) as Arc<dyn LogDisk>, KEY).await.unwrap()
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|e| e.log_id.index).collect()
}

#[tokio::test]
async fn an_appended_entry_is_readable_before_its_sync_however_large_the_queue_is() {
    let disk = HeldDisk::with(0, 0);
    let mut log = open(&disk).await;
    for index in 0..4 {
        log.append([entry(index, 5 * MIB)], IOFlushed::noop()).await.unwrap();
    }
    for index in 0..4 {
        let read = log.limited_get_log_entries(index, 4).await.unwrap();
        assert_eq!(indexes(&read), [index], "an entry above the size of a read is read alone");
    }
    let applied: Vec<_> = log.entries_stream(0..4).await.map(|e| e.unwrap().log_id.index).collect().await;
    assert_eq!(applied, [0, 1, 2, 3]);
    assert!(log.bytes().cached > 20 * MIB, "unsynced payloads stay in memory");
    assert_eq!(disk.reads(), 0, "the disk has nothing yet");

    assert_eq!(disk.sync(), 4, "the fault happened: all four syncs were held back");
    assert!(log.bytes().cached <= CACHE_BYTES_MAX, "synced payloads leave the memory");
    assert_eq!(indexes(&log.limited_get_log_entries(0, 4).await.unwrap()), [0]);
    assert_eq!(disk.reads(), 1, "a synced payload comes from disk");
}

#[tokio::test]
async fn a_synced_entry_that_the_disk_lacks_is_an_error_and_not_an_empty_answer() {
    let disk = HeldDisk::with(8, 2 * MIB);
    let mut log = open(&disk).await;
    let lost = disk.entries.lock().unwrap().remove(&3).unwrap();
    let missing = |e: io::Error| {
        let typed = e.get_ref().and_then(|e| e.downcast_ref::<ReadError>());
        matches!(typed, Some(ReadError::Missing { index: 3, .. } | ReadError::Other { index: 3, .. }))
    };
    assert!(missing(log.limited_get_log_entries(3, 4).await.unwrap_err()));
    assert!(missing(log.try_get_log_entries(0..8).await.unwrap_err()));
    let stream = log.entries_stream(0..8).await.collect::<Vec<_>>().await;
    let (read, failed): (Vec<_>, Vec<_>) = stream.into_iter().partition(Result::is_ok);
    assert_eq!((read.len(), failed.len()), (3, 1), "the entries before, and then the error");
    assert!(failed.into_iter().all(|e| missing(e.unwrap_err())));
    disk.entries.lock().unwrap().insert(3, lost);
    assert_eq!(log.try_get_log_entries(0..8).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_truncation_is_synced_before_its_entries_may_leave_the_memory() {
    let disk = HeldDisk::with(0, 0);
    let mut log = open(&disk).await;
    log.append((0..4).map(|index| entry(index, 5 * MIB)), IOFlushed::noop()).await.unwrap();
    let mut truncated = log.clone();
    let (done, synced) = tokio::join!(truncated.truncate_after(Some(id(1))), async {
        tokio::task::yield_now().await;
        disk.sync()
    });
    done.unwrap();
    assert_eq!(synced, 2);
    let other =
        |index| Entry { log_id: LogId { leader_id: LeaderId { term: 2, node_id: 1 }, index }, ..entry(index, 5 * MIB) };
    log.append((2..4).map(other), IOFlushed::noop()).await.unwrap();
    let read = log.try_get_log_entries(0..4).await.unwrap();
    let terms: Vec<_> = read.iter().map(|e| e.log_id.leader_id.term).collect();
    assert_eq!(terms, [1, 1, 2, 2]);
    assert!(disk.reads() > 0, "the first two entries are synced and come from disk");
}

#[tokio::test]
async fn a_restart_reads_ids_only_and_replays_in_bounded_pieces() {
    let disk = HeldDisk::with(100, MIB / 4);
    let mut log = open(&disk).await;
    assert_eq!((log.bytes().cached, disk.reads()), (0, 0), "no payload is read at open");
    assert!(log.bytes().total >= 25 * MIB as u64);
    let ids = log.get_key_log_ids(id(0)..=id(99)).await.unwrap();
    assert_eq!((ids, disk.reads()), (vec![id(99)], 0), "the boundaries of terms are known from the ids");

    // The state machine takes whatever is ready.
    let mut batches = log.entries_stream(0..100).await.ready_chunks(1024).boxed();
    let mut next = 0;
    while let Some(batch) = batches.next().await {
        assert!(batch.len() <= 4, "{} entries of a quarter MiB at once", batch.len());
        for entry in batch {
            assert_eq!(entry.unwrap().log_id.index, next);
            next += 1;
        }
    }
    drop(batches);
    assert_eq!(next, 100);
    assert!(disk.largest_read.load(Ordering::SeqCst) <= READ_BYTES_MAX);
    assert_eq!(log.bytes().cached, 0, "a replay keeps nothing in memory");
}

#[tokio::test]
async fn a_stream_from_memory_gives_one_piece_at_a_time() {
    let disk = HeldDisk::with(0, 0);
    let mut log = open(&disk).await;
    // Two entries fit into a piece.
    log.append((0..6).map(|index| entry(index, MIB / 5 * 2)), IOFlushed::noop()).await.unwrap();
    let ready = log.entries_stream(0..6).await.ready_chunks(1024).map(|batch| {
        let batch: Vec<Entry> = batch.into_iter().collect::<io::Result<_>>().unwrap();
        indexes(&batch)
    });
    assert_eq!(ready.collect::<Vec<_>>().await, [[0, 1], [2, 3], [4, 5]]);
    assert_eq!(disk.reads(), 0);
}

#[tokio::test]
async fn a_purge_by_size_keeps_the_newest_entries() {
    let disk = HeldDisk::with(100, MIB / 4);
    let log = open(&disk).await;
    assert_eq!(log.purge_bound(u64::MAX), None);
    let bound = log.purge_bound(2 * MIB as u64).unwrap();
    // Eight encoded entries are a little larger than 2 MiB.
    assert_eq!(bound, 91);
}

#[tokio::test]
async fn the_search_for_memberships_at_start_keeps_no_command_in_memory() {
    let disk = HeldDisk::with(64, MIB);
    let members = Membership::new(vec![[1].into()], BTreeMap::from([(1, Host(NodeId::new(1)))])).unwrap();
    let membership = Entry { log_id: id(10), payload: Payload::Membership(members) };
    let encoded = Bytes::from(codec::entry_to(&membership).encode_to_vec());
    disk.entries.lock().unwrap().insert(10, encoded);
    let mut log = open(&disk).await;

    let read = log.try_get_log_entries(0..64).await.unwrap();
    assert_eq!(indexes(&read), (0..64).collect::<Vec<_>>());
    let kept: Vec<u64> = read.iter().filter(|e| e.payload != Payload::Blank).map(|e| e.log_id.index).collect();
    assert_eq!(kept, [10]);
    assert!(disk.largest_read.load(Ordering::SeqCst) < 2 * MIB, "the commands were in memory together");
    // openraft would apply entries of such a range up to this index.
    assert_eq!(log.read_committed().await.unwrap(), None);

    log.started();
    let read = log.try_get_log_entries(0..2).await.unwrap();
    assert_eq!(read, [entry(0, MIB), entry(1, MIB)]);
}

/// A log on a real disk, with entries 0 to 2 of term 1 and entries 3 to 5 of term 2.
async fn of_two_terms(dir: &std::path::Path) -> (Arc<RocksdbLog>, LogStorage) {
    let disk = Arc::new(RocksdbLog::open(dir, Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let mut log = LogStorage::open(Arc::clone(&disk) as Arc<dyn LogDisk>, KEY).await.unwrap();
    if log.bounds() == (0, 0) {
        let entry = |index| {
            let log_id = LogId { leader_id: LeaderId { term: 1 + index / 3, node_id: 1 }, index };
            Entry { log_id, payload: Payload::Blank }
        };
        log.append((0..6).map(entry), IOFlushed::noop()).await.unwrap();
    }
    (disk, log)
}

async fn close(disk: Arc<RocksdbLog>) {
    taffrail_runtime::blocking(move || disk.close()).await.unwrap();
}

#[tokio::test]
async fn a_restart_finds_the_vote_the_purge_and_the_entries_that_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let vote = Vote::new(3, 7);
    let (disk, mut log) = of_two_terms(dir.path()).await;
    assert_eq!(log.read_vote().await.unwrap(), None);
    log.save_vote(&vote).await.unwrap();
    log.truncate_after(Some(LogId { leader_id: LeaderId { term: 2, node_id: 1 }, index: 4 })).await.unwrap();
    log.purge(id(1)).await.unwrap();
    let before = log.get_log_state().await.unwrap();
    assert_eq!((log.bounds(), log.read_vote().await.unwrap()), ((2, 5), Some(vote)));
    drop(log);
    close(disk).await;
    let (disk, mut log) = of_two_terms(dir.path()).await;
    let state = log.get_log_state().await.unwrap();
    assert_eq!((log.bounds(), log.read_vote().await.unwrap(), &state), ((2, 5), Some(vote), &before));
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id.map(|l| (l.leader_id.term, l.index))),
        (Some(id(1)), Some((2, 4)))
    );
    assert_eq!(indexes(&log.try_get_log_entries(..).await.unwrap()), [2, 3, 4]);
    log.truncate_after(None).await.unwrap();
    assert_eq!(log.bounds(), (2, 2), "purged entries are not truncated");
    close(disk).await;
}

#[tokio::test]
async fn each_kind_of_range_reads_exactly_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut log) = of_two_terms(dir.path()).await;
    let after = (Bound::Excluded(1), Bound::Included(3));
    assert_eq!(indexes(&log.try_get_log_entries(after).await.unwrap()), [2, 3]);
    assert_eq!(indexes(&log.try_get_log_entries(..=1).await.unwrap()), [0, 1]);
    assert_eq!(indexes(&log.try_get_log_entries(4..).await.unwrap()), [4, 5]);
    assert_eq!(indexes(&log.try_get_log_entries(2..4).await.unwrap()), [2, 3]);
    assert_eq!(indexes(&log.try_get_log_entries(2..2).await.unwrap()), [0; 0]);
    log.purge(id(1)).await.unwrap();
    assert_eq!(indexes(&log.try_get_log_entries(0..4).await.unwrap()), [2, 3], "the purged part is left out");
    close(disk).await;
}

#[tokio::test]
async fn the_key_ids_are_the_last_ids_of_each_leader_in_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, mut log) = of_two_terms(dir.path()).await;
    let at = |index| LogId { leader_id: LeaderId { term: 1 + index / 3, node_id: 1 }, index };
    for (range, ids) in [(0..=5, vec![2, 5]), (1..=4, vec![2, 4]), (0..=1, vec![1]), (4..=5, vec![5])] {
        let found = log.get_key_log_ids(at(*range.start())..=at(*range.end())).await.unwrap();
        assert_eq!(found, ids.into_iter().map(at).collect::<Vec<_>>(), "{range:?}");
    }
    close(disk).await;
}

#[tokio::test]
async fn an_append_that_leaves_a_gap_is_refused() {
    let disk = HeldDisk::with(0, 0);
    let mut log = open(&disk).await;
    log.append([entry(0, 1)], IOFlushed::noop()).await.unwrap();
    for wrong in [0, 2] {
        let refused = log.append([entry(wrong, 1)], IOFlushed::noop()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{wrong}");
    }
    assert_eq!(log.bounds(), (0, 1));
}

#[test]
fn only_commands_have_a_payload() {
    assert_eq!(payload_len(&entry(0, 7)), 7);
    assert_eq!(payload_len(&Entry { log_id: id(0), payload: Payload::Blank }), 0);
}

#[tokio::test]
async fn a_purge_during_a_read_is_answered_with_the_entries_after_the_purge() {
    let disk = HeldDisk::with(8, 2 * MIB);
    let mut log = open(&disk).await;
    let mut purged = log.clone();
    let (read, done, synced) = tokio::join!(log.limited_get_log_entries(2, 4), purged.purge(id(5)), async {
        tokio::task::yield_now().await;
        disk.sync()
    });
    done.unwrap();
    assert_eq!((synced, disk.reads()), (1, 2), "the purge came during the first read");
    assert_eq!(indexes(&read.unwrap()), [6], "an answer with a hole, and not without entries");
}
