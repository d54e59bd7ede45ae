//! A node of its own for tests: a real member with its databases, without servers.
#![allow(clippy::unwrap_used, reason = "a test")]

use super::{
    deadline::Deadline,
    member::{Member, Parts},
    peer_handler::PeerHandler,
    replicas,
};
use crate::{
    config::FinalizeUpgrade,
    disk_space::{DiskSpace, FileSystem, MarkSettings, MeasureSpace},
    identity::peer_starts::tests::InMemory,
};
use bytes::Bytes;
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Declaration, Kind, Registration},
    ids::{ClusterId, DiskId, NodeId, ReplicaId, StoreId},
    names::StoreName,
};
use taffrail_proto::peer::{FrameKind, RefusalKind};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    group::Home,
    log::{LogDisk, LogKey, rocksdb_log::RocksdbLog},
    peer::{NoPeers, PeerTransport, Request, dispatch::Handler, table::Table},
    tuning::Tuning,
};
use taffrail_storage::store::state_db::{Medium, StateDb};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const HERE: NodeId = NodeId::new(1);
pub(crate) const CLUSTER: ClusterId = ClusterId::new(Uuid::from_u128(1));

/// A node with real databases in a directory and a given transport.
pub(crate) struct Node {
    pub(crate) member: Arc<Member>,
    pub(crate) log: Arc<RocksdbLog>,
}

impl Node {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_among(dir, Arc::new(NoPeers)).await
    }

    pub(crate) async fn start_among(dir: &Path, transport: Arc<dyn PeerTransport>) -> Self {
        Self::start_on(dir, transport, Arc::new(FileSystem::of(dir.to_owned()))).await
    }

    pub(crate) async fn start_on(dir: &Path, transport: Arc<dyn PeerTransport>, disk: Arc<dyn MeasureSpace>) -> Self {
        let log = RocksdbLog::open(&dir.join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
        let log = Arc::new(log);
        let home = Home {
            cluster: CLUSTER,
            node: HERE,
            disk: Arc::clone(&log) as Arc<dyn LogDisk>,
            transport,
            tuning: Tuning::default(),
            catch_ups: CatchUpLimits::new(u64::MAX),
            on_fatal: Arc::new(|e| panic!("{e}")),
        };
        let parts = Parts {
            registration: registration(),
            home,
            db: Arc::new(StateDb::open(&dir.join("state"), &Medium::Disk).unwrap()),
            space: DiskSpace::new(disk, MarkSettings::default()),
            finalize_upgrade: FinalizeUpgrade::Automatic,
            wrap: Arc::new(|_, machine| machine),
            stop: CancellationToken::new(),
        };
        Self { member: Member::start(parts).await.unwrap(), log }
    }

    pub(crate) async fn propose(&self, kind: Kind) -> CatalogueOutcome {
        let end = Instant::now() + Duration::from_secs(60);
        self.member.propose(kind, end).await.unwrap()
    }

    /// Reconciles once with the applied catalogue.
    pub(crate) async fn reconcile(&self) {
        replicas::reconcile(&self.member, &self.member.applied()).await;
    }

    /// Creates a handler of frames for this node.
    pub(crate) fn handler(&self) -> PeerHandler {
        let member = watch::channel(Some(Arc::clone(&self.member))).1;
        let log = Arc::clone(&self.log) as Arc<dyn LogDisk>;
        PeerHandler::new(watch::channel(None).1, Arc::new(Table::default()), member, log, InMemory::default().open())
    }

    /// Handles a frame as if the peer `from` had sent the frame.
    pub(crate) async fn frame(
        &self,
        kind: FrameKind,
        from: NodeId,
        key: LogKey,
        payload: Vec<u8>,
    ) -> Result<Bytes, RefusalKind> {
        let request = Request {
            kind,
            group: key.group,
            from_replica: ReplicaId::new(from.get()),
            to_replica: key.replica,
            payload: payload.into(),
        };
        self.handler().handle(from, request).await.map_err(|no| no.kind())
    }

    /// Stops the node and waits until no task holds the databases, so that a test can open the databases again.
    pub(crate) async fn end(self) {
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

pub(crate) fn registration() -> Registration {
    let disk = DiskId::new(Uuid::from_u128(7));
    Registration { disk, name: "main-0".into(), address: "127.0.0.1:1".into(), version: "1".into() }
}

impl Node {
    /// Forms a cluster of this node alone.
    pub(crate) async fn form(&self, first: Registration) {
        let members = BTreeMap::from([(ReplicaId::new(HERE.get()), HERE)]);
        self.member.system.initialize(&members).await.unwrap();
        self.propose(Kind::Init { cluster: CLUSTER, first }).await;
    }
}

/// Declares a store with a single replica.
pub(crate) async fn declare(node: &Node, name: &str) -> StoreId {
    let declaration = Declaration {
        name: StoreName::new("default", name).unwrap(),
        replicas: 1,
        adopt: None,
        minted: StoreId::new(taffrail_runtime::new_uuid()),
        declared_by: String::new(),
    };
    let outcome = node.propose(Kind::Declare(declaration)).await;
    let CatalogueOutcome::Store(id) = outcome else { panic!("store {name}: {outcome:?}") };
    id
}

/// Starts a node with a single store. Returns the node and the key of the store replica.
pub(crate) async fn with_a_store(dir: &Path) -> (Node, LogKey) {
    with_a_store_on(dir, Arc::new(FileSystem::of(dir.to_owned()))).await
}

/// Starts a node with a single store on a disk that answers with the numbers of `disk`.
pub(crate) async fn with_a_store_on(dir: &Path, disk: Arc<dyn MeasureSpace>) -> (Node, LogKey) {
    let node = Node::start_on(dir, Arc::new(NoPeers), disk).await;
    node.form(registration()).await;
    declare(&node, "orders").await;
    node.reconcile().await;
    let key = node.member.all_running().first().expect("the store's replica runs").group.key();
    (node, key)
}
