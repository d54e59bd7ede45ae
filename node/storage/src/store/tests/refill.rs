//! A replica whose state was deleted by an install that did not finish, and whose log begins after the state.

use super::{harness::*, older_source::Sources};
use crate::store::{
    catch_up::{self, Wanted},
    state_db::StateDb,
    store_machine::StoreMachine,
};
use bytes::Bytes;
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use taffrail_core::{
    append::ExpectedRevision,
    ids::{ClusterId, NodeId, ReplicaId},
    stream::Kind,
};
use taffrail_proto::storage as pb;
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    codec as raft_codec,
    group::{Group, Home},
    log::{LogDisk, LogKey, LogOp, rocksdb_log::RocksdbLog, write_synced},
    machine::Machine,
    refill::refill,
    snapshot_fetch::CatchUpFrom,
    start_check::StartError,
    tuning::Tuning,
    types::{Entry, Host, LeaderId, LogId, Membership, Payload},
};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KEY: LogKey = LogKey { group: GROUP, replica: ReplicaId::new(1) };
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of entries in the whole log, index of the last purged entry, and number of entries in the later source.
const ENTRIES: u64 = 45;
const PURGED: u64 = 30;
const FETCHED: u64 = 40;

/// The entries of a log with a single voter. Entries from `branch` on belong to term 2 and carry other events.
fn log_with_branch(branch: u64) -> Vec<Entry> {
    let hosts: BTreeMap<u64, Host> = (1..=3).map(|r| (r, Host(NodeId::new(r)))).collect();
    let voters = Membership::new(vec![BTreeSet::from([1])], hosts).unwrap();
    let first = Entry { log_id: log_id(0), payload: Payload::Membership(voters) };
    let append = |index: u64| {
        let (term, id) = if index < branch { (1, index) } else { (2, 1000 + index) };
        let appends = vec![stamped("orders", ExpectedRevision::Any, vec![event(id, 10)], index)];
        Entry {
            log_id: LogId { leader_id: LeaderId { term, node_id: 1 }, index },
            ..entry(index, Kind::Appends(appends))
        }
    };
    std::iter::once(first).chain((1..ENTRIES).map(append)).collect()
}

/// The replica with its disks. Node 2 has a state below the purged entries, node 3 a later state.
struct Target {
    home: Home,
    db: Arc<StateDb>,
    sources: Arc<Sources>,
    _replicas: Vec<Replica>,
    _dir: TempDir,
}

impl Target {
    /// Makes a replica with the log `own`, whose state was deleted. The sources have applied `theirs`.
    async fn new(own: &[Entry], theirs: &[Entry]) -> Self {
        let (older, newer) =
            (Replica::with(&theirs[..20]), Replica::with(&theirs[..usize::try_from(FETCHED).unwrap()]));
        let sources =
            Sources { dbs: [(2, Arc::clone(&older.db)), (3, Arc::clone(&newer.db))].into(), asked: Mutex::default() };
        let sources = Arc::new(sources);
        let lost = Self::without_state(&newer);
        let dir = tempfile::tempdir().unwrap();
        let disk = RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
        let bytes = |e: &Entry| (e.log_id.index, Bytes::from(raft_codec::entry_to(e).encode_to_vec()));
        let vote = raft_codec::vote_from(&pb::Vote { term: 2, replica: 1, committed: true });
        let purged = own[usize::try_from(PURGED).unwrap()].log_id;
        let entries = LogOp::Append(own.iter().map(bytes).collect());
        for op in [LogOp::Created(PARTITION), LogOp::Vote(vote), entries, LogOp::Purge(purged)] {
            write_synced(&disk, KEY, op).await.unwrap();
        }
        let home = Home {
            cluster: ClusterId::new(Uuid::from_u128(1)),
            node: NodeId::new(1),
            disk: Arc::new(disk) as Arc<dyn LogDisk>,
            transport: Arc::clone(&sources) as _,
            tuning: Tuning::default(),
            catch_ups: CatchUpLimits::new(u64::MAX),
            on_fatal: Arc::new(|e| panic!("{e}")),
        };
        Self { home, db: Arc::clone(&lost.db), sources, _replicas: vec![older, newer, lost], _dir: dir }
    }

    /// Makes a replica with other events, and deletes the events by an install that the death of the process ends.
    fn without_state(source: &Replica) -> Replica {
        let other = stamped("users", ExpectedRevision::Any, vec![event(9999, 1)], 0);
        let mut lost = Replica::with(&[membership(0), entry(1, Kind::Appends(vec![other]))]);
        let point = lost.machine.catch_up_point();
        let wanted =
            Wanted { group: GROUP, partition: PARTITION, next_position: point.next_position, digest: point.digest };
        lost.machine.begin_install().unwrap();
        let mut refused = Ok(());
        catch_up::walk(&source.db, wanted, 1, &mut |chunk| {
            refused = lost.machine.install(chunk);
            false
        })
        .unwrap();
        refused.unwrap();
        let lost = lost.crash().unwrap();
        assert!(lost.machine.must_refill(), "the install deleted the state");
        lost
    }

    fn machine(&self) -> Box<dyn Machine> {
        Box::new(StoreMachine::open(Arc::clone(&self.db), GROUP, PARTITION).unwrap())
    }

    async fn refill(&self, from: &[u64]) -> std::io::Result<()> {
        let source = |n: &u64| CatchUpFrom { node: NodeId::new(*n), replica: ReplicaId::new(*n) };
        let sources: Vec<_> = from.iter().map(source).collect();
        refill(&self.home, KEY, self.machine(), &sources, &CancellationToken::new()).await
    }

    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.sources.asked.lock().unwrap())
    }

    /// Starts the replica, waits until the replica leads, and returns the numbers of its events.
    async fn start(&self) -> Vec<u8> {
        let group = Group::start(&self.home, KEY, self.machine()).await.unwrap();
        group.read_index(Instant::now() + PATIENCE).await.unwrap();
        group.stop().await;
        numbers(&self.db)
    }
}

/// The first byte of the data of each event, which the number of the event determines.
fn numbers(db: &Arc<StateDb>) -> Vec<u8> {
    use crate::store::reader::Reader;
    use taffrail_store_api::{Direction, PageBounds, StoreReader};
    let bounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
    let page = Reader::new(Arc::clone(db), GROUP, PARTITION).read_all(None, Direction::Forward, bounds).unwrap();
    page.events.iter().map(|e| e.event.data[0]).collect()
}

#[tokio::test]
async fn a_replica_starts_only_after_a_refill_that_reaches_the_purged_entries() {
    let log = log_with_branch(ENTRIES);
    let target = Target::new(&log, &log).await;
    let refused = Group::start(&target.home, KEY, target.machine()).await.err();
    assert!(matches!(refused, Some(StartError::MustRefill { next: 0, first: 31 })), "{refused:?}");

    // The state of node 2 ends before the log begins.
    assert!(target.refill(&[2]).await.is_err());
    let refused = Group::start(&target.home, KEY, target.machine()).await.err();
    assert!(matches!(refused, Some(StartError::MustRefill { next: 20, first: 31 })), "{refused:?}");

    target.refill(&[2, 3]).await.unwrap();
    assert_eq!(target.asked(), [2, 2, 3]);
    assert_eq!(target.start().await, numbers(&Replica::with(&log).db));
}

#[tokio::test]
async fn entries_that_contradict_the_fetched_state_are_cut_before_the_start() {
    let theirs = log_with_branch(35);
    let target = Target::new(&log_with_branch(ENTRIES), &theirs).await;
    target.refill(&[3]).await.unwrap();
    let fetched = Replica::with(&theirs[..usize::try_from(FETCHED).unwrap()]);
    assert_eq!(target.start().await, numbers(&fetched.db), "entries of the other branch were applied");
}

#[tokio::test]
async fn a_refill_without_a_source_fails_and_leaves_the_replica_as_it_is() {
    let log = log_with_branch(ENTRIES);
    let target = Target::new(&log, &log).await;
    assert!(target.refill(&[]).await.is_err());
    assert!(target.machine().must_refill());
    let stop = CancellationToken::new();
    stop.cancel();
    let from = [CatchUpFrom { node: NodeId::new(3), replica: ReplicaId::new(3) }];
    let stopped = refill(&target.home, KEY, target.machine(), &from, &stop).await.unwrap_err();
    assert_eq!(stopped.kind(), std::io::ErrorKind::Interrupted);
    assert!(target.machine().must_refill());
}
