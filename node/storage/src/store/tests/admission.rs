//! Bounds on the transfers of state: sources and installs of a node, the rate, and the time limit of a chunk.

use super::{harness::*, older_source::Answer};
use crate::store::{
    catch_up::{self, Chunks, Wanted},
    state_db::StateDb,
    store_machine::StoreMachine,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use taffrail_core::{
    append::ExpectedRevision,
    ids::{ClusterId, Digest, NodeId, ReplicaId},
    stream::Kind,
};
use taffrail_proto::peer::{CatchUpRequest, Refusal, RefusalKind};
use taffrail_raft::{
    catch_up_limits::{CatchUpLimits, STEP_MAX},
    digests::Digests,
    log::LogKey,
    machine::Machine,
    peer::{CallError, PeerTransport, Request},
    shared_machine::SharedMachine,
    snapshot_fetch::{CatchUpFrom, ReplicaContext, SnapshotFetch},
    types::{Entry, SnapshotMeta, StoredMembership},
};
use taffrail_runtime as rt;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const BLANK: Wanted = Wanted { group: GROUP, partition: PARTITION, next_position: 1, digest: Digest([0; 32]) };

/// A log with more events than the chunks between source and receiver can hold.
fn large_log(seed: u64) -> Vec<Entry> {
    let append = |index: u64| {
        let appends = vec![stamped("orders", ExpectedRevision::Any, vec![event(seed << 32 | index, 1 << 20)], index)];
        entry(index, Kind::Appends(appends))
    };
    std::iter::once(membership(0)).chain((1..=16).map(append)).collect()
}

fn send(source: &Replica, limits: &Arc<CatchUpLimits>) -> Result<Chunks, Refusal> {
    catch_up::send(Arc::clone(&source.db), BLANK, limits)
}

/// Tries to send another state, with `between` after each refusal.
async fn a_source_is_free(source: &Replica, limits: &Arc<CatchUpLimits>, between: impl AsyncFn()) -> Chunks {
    for _ in 0..20_000_000 {
        match send(source, limits) {
            Ok(chunks) => return chunks,
            Err(_) => between().await,
        }
    }
    panic!("the permit of a source that has ended does not return")
}

#[tokio::test]
async fn a_node_that_sends_enough_states_refuses_the_next_and_goes_on_after_the_first_ends() {
    let (source, limits) = (Replica::with(&large_log(1)), CatchUpLimits::new(u64::MAX));
    let (first, second) = (send(&source, &limits).unwrap(), send(&source, &limits).unwrap());
    assert_eq!(send(&source, &limits).unwrap_err().kind(), RefusalKind::Unavailable);
    drop(first);
    let third = a_source_is_free(&source, &limits, tokio::task::yield_now).await;
    drop((second, third));
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_loses_its_source() {
    let (source, limits) = (Replica::with(&large_log(2)), CatchUpLimits::new(u64::MAX));
    let stuck = [send(&source, &limits).unwrap(), send(&source, &limits).unwrap()];
    assert!(send(&source, &limits).is_err());
    tokio::time::pause();
    // The permit can only come from one of the two sources, whose receivers take nothing.
    drop(a_source_is_free(&source, &limits, async || tokio::time::advance(STEP_MAX).await).await);
    let mut cut_off = 0;
    for mut chunks in stuck {
        let mut whole = false;
        while let Some(chunk) = chunks.recv().await {
            whole = !chunk.unwrap().group_meta.is_empty();
        }
        cut_off += usize::from(!whole);
    }
    assert!(cut_off > 0, "both states were sent to the end");
}

#[tokio::test]
async fn a_state_is_sent_at_the_rate_of_the_node() {
    let source = Replica::with(&large_log(3));
    tokio::time::pause();
    let (begun, mut chunks) = (Instant::now(), send(&source, &CatchUpLimits::new(1 << 20)).unwrap());
    let mut whole = false;
    while let Some(chunk) = chunks.recv().await {
        whole = !chunk.unwrap().group_meta.is_empty();
    }
    assert!(whole);
    assert!(begun.elapsed() > Duration::from_secs(15), "16 MiB at 1 MiB a second took {:?}", begun.elapsed());
}

/// Carries requests to the sources of both nodes.
struct Both(BTreeMap<u64, (Arc<StateDb>, Arc<CatchUpLimits>)>);

impl PeerTransport for Both {
    fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
    fn catch_up(&self, to: NodeId, request: CatchUpRequest) -> BoxFuture<'static, Answer> {
        let (db, limits) = &self.0[&to.get()];
        let digest = Digest(request.digest.as_ref().try_into().unwrap());
        let wanted = Wanted { next_position: request.next_position, digest, ..BLANK };
        let sent = catch_up::send(Arc::clone(db), wanted, limits).map_err(CallError::Refused);
        std::future::ready(sent.map(|mut chunks| {
            let (tx, rx) = mpsc::channel(1);
            drop(rt::spawn(async move {
                while let Some(chunk) = chunks.recv().await {
                    if tx.send(chunk.map_err(CallError::Refused)).await.is_err() {
                        return;
                    }
                }
            }));
            rx
        }))
        .boxed()
    }
}

async fn fetch(node: u64, blank: StoreMachine, limits: Arc<CatchUpLimits>, both: Arc<Both>, upto: SnapshotMeta) {
    let context = ReplicaContext {
        key: LogKey { group: GROUP, replica: ReplicaId::new(10 + node) },
        cluster: ClusterId::new(Uuid::from_u128(1)),
        node: NodeId::new(node),
        transport: both,
        stop: CancellationToken::new(),
        limits,
        source: watch::channel(None).1,
    };
    let machine = SharedMachine::new(Box::new(blank), Arc::new(|e| panic!("{e}")));
    let progress = Arc::new(watch::channel(taffrail_store_api::Applied::default()).0);
    let fetch = SnapshotFetch { machine, context, progress, digests: Digests::default() };
    let other = 3 - node;
    fetch.fetch_up_to(&upto, &CatchUpFrom { node: NodeId::new(other), replica: ReplicaId::new(other) }).await.unwrap();
}

/// The runtime has a single thread for blocking work. A source that holds this thread for its whole stream blocks the
/// install that would make room for the stream.
#[test]
fn two_nodes_that_fetch_from_each_other_come_to_an_end() {
    let own = [4, 5].map(|seed| Replica::with(&large_log(seed)));
    let blank = [Replica::new(), Replica::new()];
    let limits = [CatchUpLimits::new(u64::MAX), CatchUpLimits::new(u64::MAX)];
    let source = |n: usize| (Arc::clone(&own[n].db), Arc::clone(&limits[n]));
    let both = Arc::new(Both(BTreeMap::from([(1, source(0)), (2, source(1))])));
    let upto = SnapshotMeta { last_log_id: own[0].machine.applied().0, last_membership: StoredMembership::default() };
    let dbs = [Arc::clone(&blank[0].db), Arc::clone(&blank[1].db)];
    // The rest of both replicas, with the directories, lives until the end of the test.
    let [one, two] = blank;
    let (first, second) = (one.machine, two.machine);
    let [own_first, own_second] = limits;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let fetches = async {
        let first = rt::spawn(fetch(1, first, own_first, Arc::clone(&both), upto.clone()));
        let second = rt::spawn(fetch(2, second, own_second, both, upto));
        let ends = async { (first.await.unwrap(), second.await.unwrap()) };
        tokio::time::timeout(STEP_MAX / 2, ends).await.expect("the nodes wait for each other");
    };
    let scope = rt::Scope::production();
    runtime.block_on(scope.run(fetches));
    assert_eq!(numbers(&dbs[0]), numbers(&own[1].db));
    assert_eq!(numbers(&dbs[1]), numbers(&own[0].db));
}

/// The ids of all events.
fn numbers(db: &Arc<StateDb>) -> Vec<String> {
    use crate::store::reader::Reader;
    use taffrail_store_api::{Direction, PageBounds, StoreReader};
    let bounds = PageBounds { events_max: usize::MAX, bytes_max: usize::MAX };
    let page = Reader::new(Arc::clone(db), GROUP, PARTITION).read_all(None, Direction::Forward, bounds).unwrap();
    page.events.iter().map(|e| e.event.correlation_id.clone()).collect()
}
