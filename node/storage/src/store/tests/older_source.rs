//! A source with a lower applied index than the receiver: the receiver refuses the state and tries another source.

use super::harness::*;
use crate::store::{
    catch_up::{self, Wanted},
    state_db::StateDb,
    store_machine::StoreMachine,
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_core::{
    ids::{ClusterId, Digest, NodeId, ReplicaId},
    plan::Lineage,
};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    digests::Digests,
    log::LogKey,
    machine::Machine,
    peer::{CallError, PeerTransport, Request},
    shared_machine::SharedMachine,
    snapshot_fetch::{CatchUpFrom, ReplicaContext, SnapshotFetch},
    types::{Host, Membership, SnapshotMeta, StoredMembership},
};
use taffrail_runtime as rt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) type Answer = Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>;

/// Sends the states of nodes 2 and 3 as the nodes would, and records the requested nodes.
pub(super) struct Sources {
    pub(super) dbs: BTreeMap<u64, Arc<StateDb>>,
    pub(super) asked: Mutex<Vec<u64>>,
}

impl PeerTransport for Sources {
    fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
    fn catch_up(&self, to: NodeId, request: CatchUpRequest) -> BoxFuture<'static, Answer> {
        self.asked.lock().unwrap().push(to.get());
        let digest = Digest(request.digest.as_ref().try_into().unwrap());
        let wanted = Wanted { group: GROUP, partition: PARTITION, next_position: request.next_position, digest };
        let sent = catch_up::send(Arc::clone(&self.dbs[&to.get()]), wanted, &CatchUpLimits::new(u64::MAX));
        let mut chunks = match sent {
            Ok(chunks) => chunks,
            Err(no) => return std::future::ready(Err(CallError::Refused(no))).boxed(),
        };
        let (tx, rx) = mpsc::channel(1);
        drop(rt::spawn(async move {
            while let Some(chunk) = chunks.recv().await {
                // The receiver may have given up.
                drop(tx.send(chunk.map_err(CallError::Refused)).await);
            }
        }));
        std::future::ready(Ok(rx)).boxed()
    }
}

#[tokio::test]
async fn a_replica_that_is_told_to_take_over_an_older_state_goes_on_with_another_source() {
    // All three replicas have the same events. This replica has an extra entry without events, and node 3 has more
    // entries and events.
    let (common, whole) = (log(30, 40), log(30, 60));
    let (older, newer) = (Replica::with(&common), Replica::with(&whole));
    let mut own = Replica::with(&common);
    own.machine.apply(&whole[40..41]).unwrap();
    own.machine.flush().unwrap();
    let point = own.machine.catch_up_point().next_position;
    assert_eq!(point, older.machine.catch_up_point().next_position, "else the source would refuse at once");

    let sources = Arc::new(Sources {
        dbs: [(2, Arc::clone(&older.db)), (3, Arc::clone(&newer.db))].into(),
        asked: Mutex::default(),
    });
    let context = ReplicaContext {
        key: LogKey { group: GROUP, replica: ReplicaId::new(1) },
        cluster: ClusterId::new(Uuid::from_u128(1)),
        node: NodeId::new(1),
        transport: Arc::clone(&sources) as _,
        stop: CancellationToken::new(),
        limits: CatchUpLimits::new(u64::MAX),
        source: watch::channel(None).1,
    };
    let fatal = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fatal);
    let machine = SharedMachine::new(Box::new(own.machine), Arc::new(move |_| told.store(true, Ordering::SeqCst)));
    let progress = Arc::new(watch::channel(taffrail_store_api::Applied::default()).0);
    let digests = Digests::default();
    let fetch = SnapshotFetch { machine: machine.clone(), context, progress, digests: digests.clone() };

    let hosts: BTreeMap<u64, Host> = (1..=3).map(|r| (r, Host(NodeId::new(r)))).collect();
    let voters = Membership::new(vec![(1..=3).collect()], hosts).unwrap();
    let meta = SnapshotMeta {
        last_log_id: newer.machine.applied().0,
        last_membership: StoredMembership::new(Some(log_id(0)), voters),
    };
    fetch.fetch_up_to(&meta, &CatchUpFrom { node: NodeId::new(2), replica: ReplicaId::new(2) }).await.unwrap();

    assert_eq!(*sources.asked.lock().unwrap(), [2, 3]);
    assert!(!fatal.load(Ordering::SeqCst), "this replica's own storage did not fail");
    let (applied, digest) = machine.with(|m| Ok((m.applied(), m.digest()))).await.unwrap();
    assert_eq!((applied, digest), (newer.machine.applied(), newer.machine.digest()));
    // The digest is inherited, also after a restart and further entries.
    let lineage = Lineage { source: ReplicaId::new(3), index: newer.machine.progress().index };
    assert_eq!(digests.copied_from(), Some(lineage));
    drop((fetch, machine));
    let mut reopened = StoreMachine::open(Arc::clone(&own.db), GROUP, PARTITION).unwrap();
    assert_eq!(reopened.copied_from(), Some(lineage));
    reopened.apply(&log(30, 61)[60..]).unwrap();
    assert_eq!(reopened.copied_from(), Some(lineage));
}
