use super::*;
use crate::{
    coordinator::act,
    member::{
        deadline::Deadline,
        member::{Member, Parts},
        peer_handler::PeerHandler,
        replicas,
    },
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use prost::Message;
use std::{collections::BTreeMap, path::Path, time::Duration};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Declaration, Kind, Registration},
    ids::{ClusterId, DiskId, ReplicaId, StoreId},
    names::StoreName,
    plan,
};
use taffrail_metrics::Metrics;
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, FrameKind, RefusalKind};
use taffrail_raft::{
    group::Home,
    log::{LogDisk, ReplicaState, rocksdb_log::RocksdbLog},
    peer::{CallError, PeerTransport, Request, dispatch::Handler, table::Table},
    tuning::Tuning,
};
use taffrail_storage::store::state_db::{Medium, StateDb};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const HERE: NodeId = NodeId::new(1);
const CLUSTER: ClusterId = ClusterId::new(Uuid::from_u128(1));

/// A transport of a node without peers: every peer is unreachable.
struct Alone;

impl PeerTransport for Alone {
    fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
}

/// A transport to peers that accept every request and never answer.
struct Silent;

impl PeerTransport for Silent {
    fn call(&self, _: NodeId, _: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let late = CallError::NoAnswer("no answer in time".into());
        tokio::time::sleep(ttl).map(|()| Err(late)).boxed()
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
}

struct Node {
    member: Arc<Member>,
    log: Arc<RocksdbLog>,
}

impl Node {
    async fn start(dir: &Path) -> Self {
        Self::start_among(dir, Arc::new(Alone)).await
    }

    async fn start_among(dir: &Path, transport: Arc<dyn PeerTransport>) -> Self {
        let log = RocksdbLog::open(&dir.join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
        let log = Arc::new(log);
        let home = Home {
            cluster: CLUSTER,
            node: HERE,
            disk: Arc::clone(&log) as Arc<dyn LogDisk>,
            transport,
            tuning: Tuning::default(),
            on_fatal: Arc::new(|e| panic!("{e}")),
        };
        let parts = Parts {
            registration: registration(),
            home,
            db: Arc::new(StateDb::open(&dir.join("state"), &Medium::Disk).unwrap()),
            table: Table::default(),
            metrics: Arc::new(Metrics::new("1").unwrap()),
            stop: CancellationToken::new(),
        };
        Self { member: Member::start(parts).await.unwrap(), log }
    }

    async fn propose(&self, kind: Kind) -> CatalogueOutcome {
        let end = Instant::now() + Duration::from_secs(60);
        self.member.propose(kind, end).await.unwrap()
    }

    /// Reconciles once with the applied catalogue.
    async fn reconcile(&self) {
        replicas::reconcile(&self.member, &self.member.applied()).await;
    }

    /// Handles a frame as if the peer `from` had sent the frame.
    async fn frame(&self, kind: FrameKind, from: NodeId, key: LogKey, payload: Vec<u8>) -> Result<Bytes, RefusalKind> {
        let (_identity, identity) = watch::channel(None);
        let (_member, member) = watch::channel(Some(Arc::clone(&self.member)));
        let handler = PeerHandler::new(identity, Table::default(), member);
        let request = Request {
            kind,
            group: key.group,
            from_replica: ReplicaId::new(from.get()),
            to_replica: key.replica,
            payload: payload.into(),
        };
        handler.handle(from, request).await.map_err(|no| no.kind())
    }

    async fn ask(
        &self,
        from: NodeId,
        key: LogKey,
        index: u64,
        own: Digest,
        majority: Digest,
    ) -> Result<Bytes, RefusalKind> {
        let (digest, majority) = (own.0.to_vec().into(), majority.0.to_vec().into());
        let ask = pb::Fence { why: Some(Why::Divergence(pb::Divergence { index, digest, majority })) };
        self.frame(FrameKind::Fence, from, key, ask.encode_to_vec()).await
    }

    /// Stops the node and waits until no task holds the databases, so that a test can open the databases again.
    async fn end(self) {
        assert!(self.member.stop_replicas(Deadline::after(Duration::from_secs(30))).await.is_empty());
        let (db, log) = (Arc::downgrade(&self.member.parts.db), Arc::downgrade(&self.log));
        let closing = Arc::clone(&self.log);
        drop(self);
        taffrail_runtime::blocking(move || closing.close()).await.unwrap();
        let released = async {
            while db.strong_count() + log.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), released).await.expect("a stopped node releases the databases");
    }
}

fn registration() -> Registration {
    let disk = DiskId::new(Uuid::from_u128(7));
    Registration { disk, name: "main-0".into(), address: "127.0.0.1:1".into(), version: "1".into() }
}

/// Starts a node with a single store. Returns the node and the key of the store replica.
async fn with_a_store(dir: &Path) -> (Node, LogKey) {
    let node = Node::start(dir).await;
    let first = BTreeMap::from([(ReplicaId::new(HERE.get()), HERE)]);
    node.member.system.initialize(&first).await.unwrap();
    node.propose(Kind::Init { cluster: CLUSTER, first: registration() }).await;
    let declaration = Declaration {
        name: StoreName::new("default", "orders").unwrap(),
        replicas: 1,
        adopt: None,
        minted: StoreId::new(Uuid::from_u128(9)),
        declared_by: String::new(),
    };
    assert!(matches!(node.propose(Kind::Declare(declaration)).await, CatalogueOutcome::Store(_)));
    node.reconcile().await;
    let key = node.member.all_running().first().expect("the store's replica runs").group.key();
    (node, key)
}

/// Waits for the first applied entry. Returns the applied index and the digest of the replica.
async fn position(node: &Node, key: LogKey) -> (u64, Digest) {
    let group = node.member.running(key.group).unwrap().group;
    let mut progress = group.progress();
    progress.wait_for(|applied| applied.index > 0).await.unwrap();
    let status = group.status();
    (status.applied, status.digest)
}

#[tokio::test]
async fn a_fenced_replica_answers_nobody_and_is_never_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let other = Digest([9; 32]);
    node.ask(HERE, key, index, own, other).await.unwrap();
    let mark = node.member.fence_of(key).expect("the fence is remembered");
    assert_eq!((mark.index, mark.digest, mark.majority), (index, own, other));
    node.ask(HERE, key, index, own, other).await.expect("a repeated request succeeds");
    for _ in 0..2 {
        assert!(node.member.running(key.group).is_none() && node.member.not_ended(key.group).is_none());
        for kind in [FrameKind::Vote, FrameKind::Append, FrameKind::ReadIndex, FrameKind::BeginCatchUp] {
            assert_eq!(node.frame(kind, HERE, key, Vec::new()).await, Err(RefusalKind::Fenced), "{kind:?}");
        }
        // The catalogue still names the fenced replica.
        node.reconcile().await;
    }
    node.end().await;
    let node = Node::start(dir.path()).await;
    assert_eq!(node.member.fence_of(key), Some(mark), "also after a restart");
    node.propose(Kind::GroupFormed(key.group)).await;
    node.reconcile().await;
    assert!(node.member.not_ended(key.group).is_none(), "the fenced replica was opened again");
    assert_eq!(node.frame(FrameKind::Vote, HERE, key, Vec::new()).await, Err(RefusalKind::Fenced));
    assert_eq!(
        node.log.replicas().await.unwrap().iter().find(|(k, _)| *k == key).unwrap().1,
        ReplicaState::Fenced(mark)
    );
    node.propose(Kind::RetireReplica { group: key.group, replica: key.replica }).await;
    node.reconcile().await;
    assert!(node.member.fenced().is_empty() && node.member.is_deleted(key), "the data is removed under a tombstone");
    node.end().await;
}

#[tokio::test]
async fn evidence_that_does_not_hold_here_fences_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let other = Digest([9; 32]);
    let stranger = LogKey { replica: ReplicaId::new(key.replica.get() + 1), ..key };
    let system = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(HERE.get()) };
    for (refused, from, key, index, own, majority) in [
        (RefusalKind::Rejected, NodeId::new(2), key, index, own, other),
        (RefusalKind::NoSuchReplica, HERE, stranger, index, own, other),
        (RefusalKind::Rejected, HERE, key, index, other, own),
        (RefusalKind::Rejected, HERE, key, index + 1000, own, other),
        (RefusalKind::BadFrame, HERE, key, index, own, own),
        (RefusalKind::BadFrame, HERE, system, index, own, other),
    ] {
        assert_eq!(node.ask(from, key, index, own, majority).await, Err(refused));
    }
    let nothing = pb::Fence::default().encode_to_vec();
    assert_eq!(node.frame(FrameKind::Fence, HERE, key, nothing).await, Err(RefusalKind::BadFrame));
    assert!(node.member.fenced().is_empty() && node.member.running(key.group).is_some());
    node.end().await;
}

#[tokio::test]
async fn a_fence_that_was_begun_is_carried_out_also_if_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let mut changes = node.member.changes.subscribe();
    let other = Digest([9; 32]);
    // The caller gives up right after the first step, before the thread of the log has written the mark.
    let mut asking = Box::pin(node.ask(HERE, key, index, own, other));
    assert!(futures::poll!(&mut asking).is_pending());
    drop(asking);
    let fenced = async {
        while node.member.fence_of(key).is_none() || node.member.not_ended(key.group).is_some() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), fenced).await.expect("the replica is fenced and stopped");
    node.end().await;
}

#[tokio::test]
async fn peers_that_do_not_answer_hold_a_pass_of_the_coordinator_up_for_a_short_time_however_many() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_among(dir.path(), Arc::new(Silent)).await;
    let fence = |n| plan::Fence {
        group: GroupId::new(n),
        replica: ReplicaId::new(1000 + n),
        node: NodeId::new(2),
        index: 5,
        digest: Digest([1; 32]),
        majority: Digest([2; 32]),
    };
    tokio::time::pause();
    let begun = Instant::now();
    act::carry_out(&node.member, (1..=200).map(fence).collect(), Vec::new()).await;
    assert!(begun.elapsed() <= act::FENCE_TIMEOUT + Duration::from_millis(100), "{:?}", begun.elapsed());
    tokio::time::resume();
    node.end().await;
}
