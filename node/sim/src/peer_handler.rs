//! [`SimPeerHandler`]: answers the frames of peers with the replica of a simulated node.

use crate::{
    host::Running,
    world::{GROUP, PARTITION},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::sync::{Arc, Weak};
use taffrail_core::ids::{ClusterId, Digest, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, Identity, PeerAddress, Refusal, RefusalKind, Reverted};
use taffrail_raft::peer::{
    Request,
    dispatch::{Handler, refusal},
    server::{LINEAGE, PROTOCOL},
};
use taffrail_storage::store::catch_up::{self, Wanted};
use tokio::sync::mpsc;

/// Answers frames between a start and the next crash of a node.
pub struct SimPeerHandler {
    node: NodeId,
    cluster: ClusterId,
    running: Weak<Running>,
}

impl SimPeerHandler {
    /// Creates the handler of a running node.
    #[must_use]
    pub fn new(node: NodeId, cluster: ClusterId, running: &Arc<Running>) -> Self {
        Self { node, cluster, running: Arc::downgrade(running) }
    }
}

fn no_such(replica: ReplicaId) -> Refusal {
    refusal(RefusalKind::NoSuchReplica, format!("no replica {replica} here"))
}

impl Handler for SimPeerHandler {
    fn handle(&self, from: NodeId, request: Request) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let replica = self.running.upgrade().and_then(|r| r.replica()).filter(|r| r.replica_id() == request.to_replica);
        async move {
            let replica = replica.ok_or_else(|| no_such(request.to_replica))?;
            replica.group.answer(&request, from).await
        }
        .boxed()
    }

    fn catch_up(
        &self,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, Refusal>>, Refusal>> {
        let running = self.running.upgrade();
        async move {
            let wanted = ReplicaId::new(request.to_replica);
            let running = running.ok_or_else(|| no_such(wanted))?;
            running.replica().filter(|r| r.replica_id() == wanted).ok_or_else(|| no_such(wanted))?;
            let db = running.db().ok_or_else(|| no_such(wanted))?;
            let digest = request.digest.as_ref().try_into().map(Digest);
            let digest = digest.map_err(|_| refusal(RefusalKind::BadFrame, "a digest has 32 bytes"))?;
            let next_position = request.next_position;
            let home = running.home().ok_or_else(|| no_such(wanted))?;
            let wanted = Wanted { group: GROUP, partition: PARTITION, next_position, digest };
            catch_up::send(db, wanted, &home.catch_ups)
        }
        .boxed()
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity {
            cluster_id: self.cluster.to_bytes().to_vec().into(),
            disk_id: u128::from(self.node.get()).to_be_bytes().to_vec().into(),
            node_id: self.node.get(),
            name: format!("n{}", self.node),
            protocol: PROTOCOL,
            lineage: LINEAGE,
            ..Identity::default()
        })
    }

    fn peers(&self) -> Vec<PeerAddress> {
        Vec::new()
    }

    fn meet(&self, _: &Identity) -> BoxFuture<'static, Result<(), Reverted>> {
        std::future::ready(Ok(())).boxed()
    }

    fn accused(&self, _: &Identity, _: &Reverted) {}
}
