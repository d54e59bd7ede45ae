//! A replica that stops while its state machine applies: the stop waits for the machine, after which nobody writes rows.

use super::harness::*;
use crate::store::{
    codec,
    schema::{self, Family},
    state_db::StateDb,
    store_machine::{StoreMachine, delete_group},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_core::{
    append::ExpectedRevision,
    ids::{ClusterId, Digest, NodeId, ReplicaId},
    stream::{Command, Kind, RULES},
};
use taffrail_proto::peer::CatchUpChunk;
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    group::{Group, Home},
    log::{
        Done, LogDisk, LogKey, LogOp, Recovered, ReplicaState, Tombstone, floor::Floor, rocksdb_log::RocksdbLog,
        write_synced,
    },
    machine::{CatchUpPoint, Machine, MachineError},
    peer::NoPeers,
    tuning::Tuning,
    types::{Entry, LogId, Reply, StoredMembership},
};
use taffrail_runtime as rt;
use taffrail_store_api::Applied;
use tempfile::TempDir;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const KEY: LogKey = LogKey { group: GROUP, replica: ReplicaId::new(1) };
const NODE: NodeId = NodeId::new(1);
/// Time limit of a wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time that a stop gets to return too early. A stop that waits, as it must, never fails a test by this limit.
const EARLY: Duration = Duration::from_millis(200);

/// Holds every batch up before the machine applies the batch.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    arrivals: watch::Sender<u64>,
}

impl Gate {
    fn pass(&self) {
        self.arrivals.send_modify(|n| *n += 1);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }
}

/// The state machine of a store behind a gate. `ended` is cancelled when the machine is dropped.
struct Gated {
    machine: StoreMachine,
    gate: Arc<Gate>,
    ended: CancellationToken,
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Machine for Gated {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        self.machine.applied()
    }
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        self.machine.persisted()
    }
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        self.gate.pass();
        self.machine.apply(entries)
    }
    fn flush(&mut self) -> Result<(), MachineError> {
        self.machine.flush()
    }
    fn progress(&self) -> Applied {
        self.machine.progress()
    }
    fn digest(&self) -> Digest {
        self.machine.digest()
    }
    fn catch_up_point(&self) -> CatchUpPoint {
        self.machine.catch_up_point()
    }
    fn must_refill(&self) -> bool {
        self.machine.must_refill()
    }
    fn begin_install(&mut self) -> Result<(), MachineError> {
        self.machine.begin_install()
    }
    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        self.machine.install(chunk)
    }
    fn finish_install(&mut self) -> Result<(), MachineError> {
        self.machine.finish_install()
    }
    fn abort_install(&mut self) -> Result<(), MachineError> {
        self.machine.abort_install()
    }
}

/// A log whose next append panics in the consensus task, once `panics` is set.
struct Disk {
    log: RocksdbLog,
    panics: AtomicBool,
}

#[async_trait::async_trait]
impl LogDisk for Disk {
    async fn submit(&self, key: LogKey, op: LogOp, done: Done) {
        let panics = matches!(op, LogOp::Append(_)) && self.panics.load(Ordering::SeqCst);
        assert!(!panics, "the planned panic of the consensus task");
        self.log.submit(key, op, done).await;
    }
    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.log.read(key, from, to, bytes_max).await
    }
    async fn recover(&self, key: LogKey) -> io::Result<Recovered> {
        self.log.recover(key).await
    }
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        self.log.replicas().await
    }
    fn floor(&self) -> Floor {
        self.log.floor()
    }
}

/// A leader whose machine is held up in a batch, with another committed entry behind the batch.
struct Busy {
    group: Arc<Group>,
    db: Arc<StateDb>,
    disk: Arc<Disk>,
    gate: Arc<Gate>,
    ended: CancellationToken,
    _dir: TempDir,
}

fn append(id: u64) -> Bytes {
    let kind = Kind::Appends(vec![stamped("orders", ExpectedRevision::Any, vec![event(id, 10)], 0)]);
    codec::encode_command(&Command { rules: RULES, kind })
}

/// Proposes an append without waiting for the answer.
fn propose(group: &Arc<Group>, id: u64) {
    let group = Arc::clone(group);
    drop(rt::spawn(async move { drop(group.propose(append(id), Instant::now() + PATIENCE).await) }));
}

/// Waits for the end of the consensus task.
async fn consensus_ends(group: &Group) {
    let mut watch = group.watch();
    let ends = async { while group.changed(&mut watch).await {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("the consensus task ends");
}

impl Busy {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir);
        let log = RocksdbLog::open(&dir.path().join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
        let disk = Arc::new(Disk { log, panics: AtomicBool::new(false) });
        write_synced(&*disk, KEY, LogOp::Created(PARTITION)).await.unwrap();
        let gate = Gate { open: Mutex::new(true), opened: Condvar::new(), arrivals: watch::channel(0).0 };
        let (gate, ended) = (Arc::new(gate), CancellationToken::new());
        let machine = StoreMachine::open(Arc::clone(&db), GROUP, PARTITION).unwrap();
        let machine = Gated { machine, gate: Arc::clone(&gate), ended: ended.clone() };
        let home = Home {
            cluster: ClusterId::new(Uuid::from_u128(1)),
            node: NODE,
            disk: Arc::clone(&disk) as Arc<dyn LogDisk>,
            transport: Arc::new(NoPeers),
            tuning: Tuning::default(),
            catch_ups: CatchUpLimits::new(u64::MAX),
            on_fatal: Arc::new(|e| panic!("{e}")),
        };
        let group = Group::start(&home, KEY, Box::new(machine)).await.unwrap();
        group.initialize(&BTreeMap::from([(KEY.replica, NODE)])).await.unwrap();
        let this = Self { group, db, disk, gate, ended, _dir: dir };
        this.until(Group::leads).await;
        this.group.propose(append(1), Instant::now() + PATIENCE).await.unwrap();

        let mut arrivals = this.gate.arrivals.subscribe();
        this.gate.set(false);
        propose(&this.group, 2);
        arrivals.changed().await.unwrap();
        let committed = this.group.status().committed;
        propose(&this.group, 3);
        this.until(|group| group.status().committed > committed).await;
        this
    }

    async fn until(&self, holds: impl Fn(&Group) -> bool) {
        let mut watch = self.group.watch();
        let wait = async {
            while !holds(&self.group) {
                assert!(self.group.changed(&mut watch).await, "the replica has stopped");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

/// Column families with rows of the store.
fn rows(db: &StateDb) -> Vec<&'static str> {
    let view = db.view();
    let (from, to) = schema::partition_bounds(PARTITION);
    let has_rows = |family: &Family| {
        if *family == Family::Meta {
            let keys = [schema::group_meta(GROUP), schema::partition_meta(PARTITION)];
            return keys.iter().any(|key| view.get(*family, key).unwrap().is_some());
        }
        view.rising(*family, &from, &to).unwrap().next().is_some()
    };
    Family::ALL.into_iter().filter(has_rows).map(Family::name).collect()
}

#[tokio::test]
async fn a_busy_store_is_deleted_and_no_row_returns_under_the_tombstone() {
    let Busy { group, db, disk, gate, ended, _dir } = Busy::start().await;
    assert!(rows(&db).contains(&"data"), "the store has events");
    let (stopping, log, state) = (Arc::clone(&group), Arc::clone(&disk), Arc::clone(&db));
    let mut deletion = rt::spawn(async move {
        stopping.stop().await;
        let tombstone = Tombstone { partition: PARTITION, cleared: false };
        write_synced(&*log, KEY, LogOp::Deleted(tombstone)).await.unwrap();
        rt::blocking(move || delete_group(&state, GROUP, PARTITION)).await.unwrap().unwrap();
    });
    consensus_ends(&group).await;
    let early = tokio::time::timeout(EARLY, &mut deletion).await.is_ok();
    gate.set(true);
    if !early {
        deletion.await.unwrap();
    }
    drop(group);
    // The machine is dropped once no task of the replica can call the machine.
    tokio::time::timeout(PATIENCE, ended.cancelled()).await.expect("the tasks of the replica end");
    assert_eq!(rows(&db), Vec::<&str>::new());
    assert!(!early, "the stop returned while a batch was applied");
}

#[tokio::test]
async fn a_restart_after_a_panic_of_consensus_has_one_writer() {
    let Busy { group, db, disk, gate, ended, _dir } = Busy::start().await;
    disk.panics.store(true, Ordering::SeqCst);
    propose(&group, 4);
    consensus_ends(&group).await;
    let (stopping, state, first) = (Arc::clone(&group), Arc::clone(&db), ended.clone());
    let mut restart = rt::spawn(async move {
        stopping.stop().await;
        let alone = first.is_cancelled();
        let second = rt::blocking(move || StoreMachine::open(state, GROUP, PARTITION)).await.unwrap().unwrap();
        (alone, second.applied().0)
    });
    let early = tokio::time::timeout(EARLY, &mut restart).await;
    gate.set(true);
    let (alone, applied) = match early {
        Ok(opened) => opened.unwrap(),
        Err(_) => restart.await.unwrap(),
    };
    assert!(alone, "the first machine can still write when the second machine is open");
    drop(group);
    tokio::time::timeout(PATIENCE, ended.cancelled()).await.expect("the tasks of the replica end");
    let now = StoreMachine::open(db, GROUP, PARTITION).unwrap().applied().0;
    assert_eq!(now, applied, "the first machine wrote after the second machine was open");
}
