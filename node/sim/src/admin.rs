//! [`AdminPort`]: calls of the operator to the admin port of a node.

use super::{
    port::{Port, VirtualPort},
    simulated::Cluster,
};
use crate::trace;
use std::{sync::Arc, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_proto::admin::{self as pb, admin_client::AdminClient};
use taffrail_raft::log::LogKey;
use taffrail_store_api::{PeerChannel, peer_channel};
use tonic::{Request, Status};

/// Milliseconds of the operator's patience for a call.
const PATIENCE_MS: u64 = 4_000;

/// The admin port of the node on a host.
pub struct AdminPort {
    client: AdminClient<PeerChannel>,
    patience: Duration,
}

impl AdminPort {
    /// The admin port of a host. A stopped host refuses the calls.
    #[must_use]
    pub fn of(cluster: &Cluster, host: NodeId) -> Self {
        let world = Arc::clone(&cluster.world);
        let port = VirtualPort { world, from: None, to: host, port: Port::Admin };
        Self { client: AdminClient::new(peer_channel(port)), patience: cluster.world.ms(PATIENCE_MS) }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.patience);
        request
    }

    /// The state of the node.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn status(&mut self) -> Result<pb::NodeStatus, Status> {
        let request = self.ask(pb::StatusRequest {});
        Ok(self.client.status(request).await?.into_inner())
    }

    /// Makes the node the first member of a new cluster.
    ///
    /// # Errors
    /// When the node refuses or does not answer.
    pub async fn bootstrap(&mut self, cluster_id: String, disk_id: String) -> Result<(), Status> {
        let request = self.ask(pb::BootstrapRequest { cluster_id, disk_id });
        self.client.bootstrap(request).await.map(drop)
    }

    /// Lets the node join a cluster.
    ///
    /// # Errors
    /// When the node refuses or does not answer.
    pub async fn join(&mut self, cluster_id: String, disk_id: String) -> Result<(), Status> {
        let request = self.ask(pb::JoinRequest { cluster_id, disk_id });
        self.client.join(request).await.map(drop)
    }

    /// Declares a store.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn declare(&mut self, store: pb::StoreDeclaration) -> Result<Option<pb::DeclareResult>, Status> {
        let request = self.ask(pb::DeclareStoresRequest { stores: vec![store] });
        Ok(self.client.declare_stores(request).await?.into_inner().results.into_iter().next())
    }

    /// Closes a store and deletes the data; true once the data is gone from all nodes.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn delete(&mut self, store_id: String, declared_by: String) -> Result<bool, Status> {
        let request = self.ask(pb::CloseStoreRequest { store_id, mode: pb::CloseMode::Delete.into(), declared_by });
        Ok(self.client.close_store(request).await?.into_inner().done)
    }

    /// Frees a fenced replica.
    ///
    /// # Errors
    /// When the replica is not fenced or not retired, or no coordinator answers.
    pub async fn free(&mut self, key: LogKey) -> Result<(), Status> {
        let request = self.ask(pb::FreeReplicaRequest { group_id: key.group.get(), replica_id: key.replica.get() });
        self.client.free_replica(request).await.map(drop)
    }

    /// Drains a node; true once the node has left the cluster.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn drain(&mut self, node: NodeId) -> Result<bool, Status> {
        let request = self.ask(pb::DrainNodeRequest { node_id: node.get() });
        Ok(self.client.drain_node(request).await?.into_inner().done)
    }

    /// Cancels a drain.
    ///
    /// # Errors
    /// When no coordinator answers, or the node has left the cluster.
    pub async fn cancel_drain(&mut self, node: NodeId) -> Result<(), Status> {
        let request = self.ask(pb::CancelDrainRequest { node_id: node.get() });
        self.client.cancel_drain(request).await.map(drop)
    }

    /// Replaces a lost node by a new node. Returns true once the lost node has left the cluster, and otherwise the reason
    /// of the wait.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn replace(&mut self, old: NodeId, new: NodeId) -> Result<(bool, String), Status> {
        let request = self.ask(pb::ReplaceNodeRequest { old_node_id: old.get(), new_node_id: new.get() });
        let answer = self.client.replace_node(request).await?.into_inner();
        Ok((answer.done, answer.waiting_for))
    }

    /// Hands all leaderships of a node over.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn transfer_leaders(&mut self, node: NodeId) -> Result<u32, Status> {
        let request = self.ask(pb::TransferLeadersRequest { node_id: node.get() });
        Ok(self.client.transfer_leaders(request).await?.into_inner().remaining)
    }

    /// Acquires the disruption grant of a node; true when granted.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn acquire(&mut self, node: NodeId, holder: String, ttl_ms: u64) -> Result<bool, Status> {
        let request = self.ask(pb::AcquireDisruptionRequest { node_id: node.get(), holder, ttl_ms });
        Ok(self.client.acquire_disruption(request).await?.into_inner().granted)
    }

    /// Releases the disruption grant of a node; true when released.
    ///
    /// # Errors
    /// When no coordinator answers.
    pub async fn release(&mut self, node: NodeId, holder: String) -> Result<bool, Status> {
        let request = self.ask(pb::ReleaseDisruptionRequest { node_id: node.get(), holder });
        Ok(self.client.release_disruption(request).await?.into_inner().released)
    }
}

/// The admin port of a random host, for a call that any node answers or forwards.
#[must_use]
pub fn any(cluster: &Cluster) -> AdminPort {
    let host = cluster.hosts.layout.any(&cluster.world);
    trace!(cluster.world, "the operator asks n{host}");
    AdminPort::of(cluster, host)
}
