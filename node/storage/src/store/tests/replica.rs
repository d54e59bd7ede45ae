//! The proposer of a replica, over a log whose syncs are held back.

use crate::store::{
    replica::Replica,
    state_db::{Medium, StateDb},
    store_machine::StoreMachine,
    tests::harness::{GROUP, PARTITION},
};
use bytes::Bytes;
use futures::future::join_all;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::{ClusterId, EventId, NodeId, ReplicaId},
    names::{EventType, StreamName},
};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    group::{Group, Home},
    log::{Done, LogDisk, LogKey, LogOp, Recovered, ReplicaState, floor::Floor},
    peer::NoPeers,
    tuning::Tuning,
};
use taffrail_runtime as rt;
use taffrail_store_api::{AppendError, StoreReplica};
use tokio::time::Instant;
use uuid::Uuid;

/// A log disk that reports every write as synced, and appends only while they are not held back.
#[derive(Default)]
struct HeldDisk {
    entries: Mutex<BTreeMap<u64, Bytes>>,
    held: Mutex<Option<Vec<(Entries, Done)>>>,
}

/// Encoded entries of an append.
type Entries = Vec<(u64, Bytes)>;

impl HeldDisk {
    fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }
    /// Number of appended entries without a sync.
    fn unsynced(&self) -> usize {
        self.held.lock().unwrap().iter().flatten().map(|(entries, _)| entries.len()).sum()
    }
    fn release(&self) {
        let held = self.held.lock().unwrap().take();
        for (entries, done) in held.into_iter().flatten() {
            self.entries.lock().unwrap().extend(entries);
            done(Ok(()));
        }
    }
}

#[async_trait::async_trait]
impl LogDisk for HeldDisk {
    async fn submit(&self, _: LogKey, op: LogOp, done: Done) {
        if let LogOp::Append(entries) = op {
            if let Some(held) = &mut *self.held.lock().unwrap() {
                return held.push((entries, done));
            }
            self.entries.lock().unwrap().extend(entries);
        }
        done(Ok(()));
    }
    async fn read(&self, _: LogKey, from: u64, to: u64, _: usize) -> io::Result<Entries> {
        Ok(self.entries.lock().unwrap().range(from..to).map(|(index, entry)| (*index, entry.clone())).collect())
    }
    async fn recover(&self, _: LogKey) -> io::Result<Recovered> {
        Ok(Recovered::default())
    }
    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        Ok(Vec::new())
    }
    fn floor(&self) -> Floor {
        Floor::default()
    }
}

/// The clock of a simulated scope.
struct NoClock;

impl rt::Clock for NoClock {
    fn now_us(&self) -> u64 {
        1
    }
}

/// An append that shares its entry with no other.
fn large(n: u128) -> Append {
    of_size(n, 1 << 20)
}

fn of_size(n: u128, bytes: usize) -> Append {
    let event = NewEvent {
        id: EventId::new(Uuid::from_u128(n + 1)),
        event_type: EventType::new("Scanned").unwrap(),
        content_type: String::new(),
        data: vec![7; bytes].into(),
        metadata: Bytes::new(),
        tags: Vec::new(),
        correlation_id: String::new(),
        causation_id: String::new(),
        occurred_at_us: None,
    };
    Append { stream: StreamName::new("scans").unwrap(), expected: ExpectedRevision::Any, events: vec![event] }
}

async fn leader(disk: &Arc<HeldDisk>, db: &Arc<StateDb>) -> Arc<Group> {
    let home = Home {
        cluster: ClusterId::new(Uuid::from_u128(1)),
        node: NodeId::new(1),
        disk: Arc::clone(disk) as Arc<dyn LogDisk>,
        transport: Arc::new(NoPeers),
        tuning: Tuning::default(),
        catch_ups: CatchUpLimits::new(u64::MAX),
        on_fatal: Arc::new(|e| panic!("{e}")),
    };
    let key = LogKey { group: GROUP, replica: ReplicaId::new(1) };
    let machine = StoreMachine::open(Arc::clone(db), GROUP, PARTITION).unwrap();
    let group = Group::start(&home, key, Box::new(machine)).await.unwrap();
    group.initialize(&BTreeMap::from([(key.replica, home.node)])).await.unwrap();
    let mut watch = group.watch();
    while !group.leads() {
        assert!(group.changed(&mut watch).await, "the replica stopped");
    }
    group
}

async fn eight_entries_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
    let disk = Arc::new(HeldDisk::default());
    let group = leader(&disk, &db).await;
    let replica = Replica::start(Arc::clone(&group), db, PARTITION);
    replica.append(large(0), Arc::new(()), Instant::now() + Duration::from_secs(5)).await.unwrap();
    disk.hold();
    let appends = |ids: std::ops::Range<u128>, within: Duration| {
        let deadline = Instant::now() + within;
        let append = |n| {
            let replica = Arc::clone(&replica);
            rt::spawn(async move { replica.append(large(n), Arc::new(()), deadline).await })
        };
        join_all(ids.map(append).collect::<Vec<_>>())
    };
    let short = appends(1..9, Duration::from_millis(100));
    let long = appends(9..17, Duration::from_secs(60));
    let queued = appends(17..20, Duration::from_millis(200));
    for answer in short.await {
        assert!(matches!(answer.unwrap(), Err(AppendError::Unknown(_))), "the sync is held back");
    }
    for answer in queued.await {
        assert!(
            matches!(answer.unwrap(), Err(AppendError::DeadlineBeforeProposal)),
            "the append is still in the queue"
        );
    }
    // The callers of all eight entries have given up, and the payloads of the entries are still in memory.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(disk.unsynced(), 8);
    disk.release();
    for answer in long.await {
        answer.unwrap().unwrap();
    }
    assert_eq!(disk.unsynced(), 0);
    let last = replica.append(large(20), Arc::new(()), far()).await.unwrap();
    assert_eq!(last.first_revision.get(), 1 + 16, "no append is stored that is answered as not proposed");
    group.stop().await;
}

#[tokio::test(start_paused = true)]
async fn eight_entries_are_in_flight_at_most_also_when_their_callers_have_gone() {
    rt::Scope::simulated(1, Box::new(NoClock)).run(eight_entries_at_most()).await;
}

/// The encoding of a large append takes far longer than the encoding of a small append. Were both entries handed over
/// by tasks of their own, the small entry would overtake the large entry in most rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_enter_the_log_in_the_order_of_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
    let group = leader(&Arc::default(), &db).await;
    let replica = Replica::start(Arc::clone(&group), db, PARTITION);
    let mut first = 0;
    for round in 0..40 {
        let deadline = Instant::now() + Duration::from_secs(60);
        // `join_all` polls in order, and the queue has room, so the large append is queued first.
        let sizes = [1 << 20, 1, 1 << 20, 1];
        let appends =
            (0..).zip(sizes).map(|(n, bytes)| replica.append(of_size(4 * round + n, bytes), Arc::new(()), deadline));
        for answer in join_all(appends).await {
            assert_eq!(answer.unwrap().first_revision.get(), first, "round {round}");
            first += 1;
        }
    }
    group.stop().await;
}
/// Appends whose callers give up at once, each with the memory of a request.
async fn abandoned(replica: &Arc<Replica>, ids: std::ops::Range<u128>) -> Vec<Weak<u128>> {
    let mut counted = Vec::new();
    for n in ids {
        let memory = Arc::new(n);
        counted.push(Arc::downgrade(&memory));
        let replica = Arc::clone(replica);
        let call = rt::spawn(async move { replica.append(large(n), memory, far()).await });
        // The call reaches the queue of the replica before the caller leaves.
        tokio::time::sleep(Duration::from_millis(1)).await;
        call.abort();
        assert!(call.await.is_err(), "the append is not answered before the caller leaves");
    }
    counted
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn an_abandoned_payload_counts() {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
    let disk = Arc::new(HeldDisk::default());
    let group = leader(&disk, &db).await;
    let replica = Replica::start(Arc::clone(&group), db, PARTITION);
    disk.hold();
    // Eight entries are in flight at most; the other appends stay in the queue.
    let counted = abandoned(&replica, 0..20).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(disk.unsynced(), 8);
    assert_eq!(counted.iter().filter(|memory| memory.strong_count() > 0).count(), 20);
    disk.release();
    // Of the same queue, so all earlier proposals have ended before.
    replica.append(large(20), Arc::new(()), far()).await.unwrap();
    assert_eq!(counted.iter().filter(|memory| memory.strong_count() > 0).count(), 0);
    group.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_payload_of_a_caller_that_has_gone_counts_until_its_proposal_ends() {
    rt::Scope::simulated(1, Box::new(NoClock)).run(an_abandoned_payload_counts()).await;
}
