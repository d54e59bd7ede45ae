//! `Status`, `Bootstrap` and `Join` are about this node; everything else is a matter of the cluster and is passed on to the
//! coordinator, once.

use super::{
    answer::{TIMEOUT, node},
    grants, nodes, stores,
    view::{self, Views},
};
use crate::{
    coordinator::act,
    member::{
        lifecycle::{DiskStatus, Told},
        member::Member,
    },
};
use std::{sync::Arc, time::Duration};
use taffrail_gateway::Origin;
use taffrail_http::Readiness;
use taffrail_proto::admin::{self as pb, ClusterView, NodeStatus, admin_client::AdminClient, admin_server::Admin};
use taffrail_raft::peer::table::Table;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Request, Response, Status, transport::Channel};

/// Between two looks for a coordinator.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Clone)]
pub struct Service {
    /// Who calls: a peer's call is never passed on again.
    pub origin: Origin,
    /// Pod or host name.
    pub name: String,
    /// The member, once it is one.
    pub member: watch::Receiver<Option<Arc<Member>>>,
    /// Whether the node serves.
    pub readiness: watch::Receiver<Readiness>,
    /// The disk.
    pub disk: watch::Receiver<DiskStatus>,
    /// The life of the node.
    pub told: mpsc::Sender<Told>,
    /// Proven connections.
    pub table: Table,
}

enum Place {
    Here(Arc<Member>),
    There(AdminClient<Channel>),
}

impl Service {
    /// Who answers: this node if it coordinates, or the coordinator.
    async fn place(&self) -> Result<Place, Status> {
        let member = self.member.borrow().clone();
        let member = member.ok_or_else(|| Status::unavailable("this node is not a member of a cluster yet"))?;
        let end = Instant::now() + TIMEOUT;
        loop {
            if member.system.leads() {
                return Ok(Place::Here(member));
            }
            let leader = member.system.leader().filter(|l| l.node != member.node());
            if let Some(leader) = leader
                && self.origin == Origin::Client
                && let Some(channel) = self.table.channel(leader.node)
            {
                return Ok(Place::There(AdminClient::new(channel)));
            }
            if self.origin == Origin::Peer || Instant::now() >= end {
                return Err(Status::unavailable("there is no coordinator that this node can reach"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// The member that coordinates; the call returns from there if that is another node.
macro_rules! pass_on {
    ($self:ident, $request:ident, $method:ident) => {
        match $self.place().await? {
            Place::Here(member) => member,
            Place::There(mut client) => return client.$method($request.into_inner()).await,
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
        let member = pass_on!(self, request, view);
        view::fresh(&member).await.map(Response::new)
    }

    type WatchStream = Views;

    async fn watch(&self, request: Request<pb::ViewRequest>) -> Result<Response<Views>, Status> {
        match self.place().await? {
            Place::Here(member) => Ok(Response::new(view::watch(member))),
            Place::There(mut client) => {
                let stream = client.watch(request.into_inner()).await?.into_inner();
                Ok(Response::new(Box::pin(stream)))
            }
        }
    }

    async fn declare_stores(
        &self,
        request: Request<pb::DeclareStoresRequest>,
    ) -> Result<Response<pb::DeclareStoresResponse>, Status> {
        let member = pass_on!(self, request, declare_stores);
        stores::declare(&member, request.into_inner()).await.map(Response::new)
    }

    async fn close_store(
        &self,
        request: Request<pb::CloseStoreRequest>,
    ) -> Result<Response<pb::CloseStoreResponse>, Status> {
        let member = pass_on!(self, request, close_store);
        stores::close(&member, request.into_inner()).await.map(Response::new)
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let member = pass_on!(self, request, drain_node);
        nodes::drain(&member, request.into_inner()).await.map(Response::new)
    }

    async fn cancel_drain(
        &self,
        request: Request<pb::CancelDrainRequest>,
    ) -> Result<Response<pb::CancelDrainResponse>, Status> {
        let member = pass_on!(self, request, cancel_drain);
        nodes::cancel_drain(&member, request.into_inner()).await.map(Response::new)
    }

    async fn replace_node(
        &self,
        request: Request<pb::ReplaceNodeRequest>,
    ) -> Result<Response<pb::ReplaceNodeResponse>, Status> {
        let member = pass_on!(self, request, replace_node);
        nodes::replace(&member, request.into_inner()).await.map(Response::new)
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        let member = pass_on!(self, request, transfer_leaders);
        let id = node(request.into_inner().node_id)?;
        let remaining = act::transfer_all(&member, id).await;
        Ok(Response::new(pb::TransferLeadersResponse { remaining }))
    }

    async fn acquire_disruption(
        &self,
        request: Request<pb::AcquireDisruptionRequest>,
    ) -> Result<Response<pb::AcquireDisruptionResponse>, Status> {
        let member = pass_on!(self, request, acquire_disruption);
        grants::acquire(&member, request.into_inner()).await.map(Response::new)
    }

    async fn release_disruption(
        &self,
        request: Request<pb::ReleaseDisruptionRequest>,
    ) -> Result<Response<pb::ReleaseDisruptionResponse>, Status> {
        let member = pass_on!(self, request, release_disruption);
        grants::release(&member, request.into_inner()).await.map(Response::new)
    }
}
