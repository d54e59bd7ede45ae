//! [`Service`]: answers `Status`, `Bootstrap` and `Join` on this node, and all other RPCs on the coordinator. A call is
//! forwarded at most once.

use super::{
    cluster_view::{self, Views},
    fenced, grants, nodes,
    parse::node,
    propose::TIMEOUT,
    stores, upgrade,
};
use crate::member::readiness::Readiness;
use crate::{
    coordinator::act,
    disk_space::DiskSpace,
    member::{
        lifecycle::{DiskStatus, LifecycleRequest},
        member::Member,
    },
};
use std::{sync::Arc, time::Duration};
use taffrail_gateway::Origin;
use taffrail_proto::admin::{self as pb, ClusterView, NodeStatus, admin_client::AdminClient, admin_server::Admin};
use taffrail_raft::peer::Peers;
use taffrail_store_api::PeerChannel;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Request, Response, Status};

/// Interval between two searches for a coordinator.
const SEARCH_INTERVAL: Duration = Duration::from_millis(50);

/// The admin service of a port.
#[derive(Clone)]
pub struct Service {
    /// Caller of the port: a call from a peer was forwarded already and is not forwarded again.
    pub origin: Origin,
    /// Pod or host name.
    pub name: String,
    /// The member; `None` before this node belongs to a cluster.
    pub member: watch::Receiver<Option<Arc<Member>>>,
    /// Readiness of the node.
    pub readiness: watch::Receiver<Readiness>,
    /// Identity of the disk.
    pub disk: watch::Receiver<DiskStatus>,
    /// Room on the disk.
    pub space: Arc<DiskSpace>,
    /// Requests to the lifecycle of the node.
    pub requests: mpsc::Sender<LifecycleRequest>,
    /// Connections to peers with proven identity.
    pub peers: Arc<dyn Peers>,
}

/// The coordinator: this node or a peer.
enum Coordinator {
    Local(Arc<Member>),
    Remote(AdminClient<PeerChannel>),
}

impl Service {
    /// Waits for a reachable coordinator.
    async fn coordinator(&self) -> Result<Coordinator, Status> {
        let member = self.member.borrow().clone();
        let member = member.ok_or_else(|| Status::unavailable("this node is not a member of a cluster yet"))?;
        let end = Instant::now() + TIMEOUT;
        loop {
            if member.system.leads() {
                return Ok(Coordinator::Local(member));
            }
            let leader = member.system.leader().filter(|l| l.node != member.node());
            if let Some(leader) = leader
                && self.origin == Origin::Client
                && let Some(channel) = self.peers.channel(leader.node)
            {
                return Ok(Coordinator::Remote(AdminClient::new(channel)));
            }
            if self.origin == Origin::Peer || Instant::now() >= end {
                return Err(Status::unavailable("there is no coordinator that this node can reach"));
            }
            tokio::time::sleep(SEARCH_INTERVAL).await;
        }
    }
}

/// Evaluates to the local member when this node coordinates; otherwise forwards the call and returns the answer.
macro_rules! local_or_forward {
    ($self:ident, $request:ident, $method:ident) => {
        match $self.coordinator().await? {
            Coordinator::Local(member) => member,
            Coordinator::Remote(mut client) => return client.$method($request.into_inner()).await,
        }
    };
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<NodeStatus>, Status> {
        Ok(Response::new(self.status_now()))
    }

    async fn bootstrap(
        &self,
        request: Request<pb::BootstrapRequest>,
    ) -> Result<Response<pb::BootstrapResponse>, Status> {
        self.begin_cluster(request.into_inner()).await.map(Response::new)
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        self.join_cluster(request.into_inner()).await.map(Response::new)
    }

    async fn view(&self, request: Request<pb::ViewRequest>) -> Result<Response<ClusterView>, Status> {
        let member = local_or_forward!(self, request, view);
        cluster_view::fresh(&member).await.map(Response::new)
    }

    type WatchStream = Views;

    async fn watch(&self, request: Request<pb::ViewRequest>) -> Result<Response<Views>, Status> {
        match self.coordinator().await? {
            Coordinator::Local(member) => Ok(Response::new(cluster_view::watch(member))),
            Coordinator::Remote(mut client) => {
                let stream = client.watch(request.into_inner()).await?.into_inner();
                Ok(Response::new(Box::pin(stream)))
            }
        }
    }

    async fn declare_stores(
        &self,
        request: Request<pb::DeclareStoresRequest>,
    ) -> Result<Response<pb::DeclareStoresResponse>, Status> {
        let member = local_or_forward!(self, request, declare_stores);
        stores::declare(&member, request.into_inner()).await.map(Response::new)
    }

    async fn close_store(
        &self,
        request: Request<pb::CloseStoreRequest>,
    ) -> Result<Response<pb::CloseStoreResponse>, Status> {
        let member = local_or_forward!(self, request, close_store);
        stores::close(&member, request.into_inner()).await.map(Response::new)
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let member = local_or_forward!(self, request, drain_node);
        nodes::drain(&member, request.into_inner()).await.map(Response::new)
    }

    async fn cancel_drain(
        &self,
        request: Request<pb::CancelDrainRequest>,
    ) -> Result<Response<pb::CancelDrainResponse>, Status> {
        let member = local_or_forward!(self, request, cancel_drain);
        nodes::cancel_drain(&member, request.into_inner()).await.map(Response::new)
    }

    async fn replace_node(
        &self,
        request: Request<pb::ReplaceNodeRequest>,
    ) -> Result<Response<pb::ReplaceNodeResponse>, Status> {
        let member = local_or_forward!(self, request, replace_node);
        nodes::replace(&member, request.into_inner()).await.map(Response::new)
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        let member = local_or_forward!(self, request, transfer_leaders);
        let id = node(request.into_inner().node_id)?;
        let remaining = act::transfer_all(&member, id).await;
        Ok(Response::new(pb::TransferLeadersResponse { remaining }))
    }

    async fn acquire_disruption(
        &self,
        request: Request<pb::AcquireDisruptionRequest>,
    ) -> Result<Response<pb::AcquireDisruptionResponse>, Status> {
        let member = local_or_forward!(self, request, acquire_disruption);
        grants::acquire(&member, request.into_inner()).await.map(Response::new)
    }

    async fn release_disruption(
        &self,
        request: Request<pb::ReleaseDisruptionRequest>,
    ) -> Result<Response<pb::ReleaseDisruptionResponse>, Status> {
        let member = local_or_forward!(self, request, release_disruption);
        grants::release(&member, request.into_inner()).await.map(Response::new)
    }

    async fn free_replica(
        &self,
        request: Request<pb::FreeReplicaRequest>,
    ) -> Result<Response<pb::FreeReplicaResponse>, Status> {
        let member = local_or_forward!(self, request, free_replica);
        fenced::free(&member, &request.into_inner()).await.map(Response::new)
    }

    async fn finalize_upgrade(
        &self,
        request: Request<pb::FinalizeUpgradeRequest>,
    ) -> Result<Response<pb::FinalizeUpgradeResponse>, Status> {
        let member = local_or_forward!(self, request, finalize_upgrade);
        upgrade::finalize(&member).await.map(Response::new)
    }
}
