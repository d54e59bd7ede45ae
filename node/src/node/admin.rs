//! `taffrail.admin.v1`: what the operator asks. `Status`, `Bootstrap` and `Join` are about this node; everything else is
//! a matter of the cluster and is passed on to the coordinator, once.

use super::{
    life::{DiskStatus, Told},
    member::{CatalogueError, Member},
};
use crate::{gateway::Origin, health::Readiness, peer::table::Table, rt};
use futures::Stream;
use std::{pin::Pin, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{Catalogue, CatalogueOutcome, CloseMode as Mode, Declaration, Kind, Refused},
    ids::{ClusterId, DiskId, NodeId, StoreId},
    names::StoreName,
};
use taffrail_proto::admin::{
    self as pb, ClusterView, Lifecycle, NodeStatus, admin_client::AdminClient, admin_server::Admin,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a pass may take before the caller is told that there is none.
const LOOK: Duration = Duration::from_secs(3);

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
    There(AdminClient<tonic::transport::Channel>),
}

fn uuid(field: &'static str, text: &str) -> Result<uuid::Uuid, Status> {
    uuid::Uuid::parse_str(text).map_err(|_| Status::invalid_argument(format!("{field}: must be a UUID, is {text:?}")))
}

fn catalogue(e: CatalogueError) -> Status {
    match e {
        CatalogueError::NoCoordinator(_) => Status::unavailable(e.to_string()),
        CatalogueError::Unknown(_) => Status::unknown(e.to_string()),
    }
}

fn refused(why: &Refused) -> Status {
    Status::failed_precondition(why.to_string())
}

impl Service {
    fn member(&self) -> Result<Arc<Member>, Status> {
        self.member.borrow().clone().ok_or_else(|| Status::unavailable("this node is not a member of a cluster yet"))
    }

    async fn place(&self) -> Result<Place, Status> {
        let member = self.member()?;
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
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn check_disk(&self, wanted: &str) -> Result<(), Status> {
        let wanted = DiskId::new(uuid("disk_id", wanted)?);
        let is = self.disk.borrow().disk;
        if is == Some(wanted) {
            Ok(())
        } else {
            Err(Status::failed_precondition("disk_id: this node has another disk"))
        }
    }

    async fn tell<T>(&self, told: Told, answer: oneshot::Receiver<Result<T, String>>) -> Result<T, Status> {
        self.told.send(told).await.map_err(|_| Status::unavailable("this node is stopping"))?;
        match tokio::time::timeout(TIMEOUT * 3, answer).await {
            Ok(Ok(done)) => done.map_err(Status::failed_precondition),
            Ok(Err(_)) => Err(Status::unavailable("this node is stopping")),
            Err(_) => Err(Status::deadline_exceeded("this node is still at it")),
        }
    }

    fn status_now(&self) -> NodeStatus {
        let disk = self.disk.borrow().clone();
        let readiness = self.readiness.borrow().clone();
        let member = self.member.borrow().clone();
        let fenced = match &readiness {
            Readiness::Fenced { reason } => reason.clone(),
            _ => String::new(),
        };
        let lifecycle = if !fenced.is_empty() {
            Lifecycle::Fenced
        } else if disk.node.is_some() {
            Lifecycle::Member
        } else if disk.cluster.is_some() {
            Lifecycle::Joining
        } else {
            Lifecycle::Blank
        };
        NodeStatus {
            lifecycle: lifecycle.into(),
            cluster_id: disk.cluster.map(|c| c.to_string()).unwrap_or_default(),
            disk_id: disk.disk.map(|d| d.to_string()).unwrap_or_default(),
            node_id: disk.node.map_or(0, NodeId::get),
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            ready: readiness == Readiness::Ready,
            ready_reason: readiness.to_string(),
            fence_reason: fenced,
            coordinator: member.as_ref().and_then(|m| m.system.leader()).map_or(0, |l| l.node.get()),
            groups: member.as_ref().map_or(0, |m| u32::try_from(m.all_running().len() + 1).unwrap_or(u32::MAX)),
            leaders: member.as_ref().map_or(0, |m| u32::try_from(m.leaderships()).unwrap_or(u32::MAX)),
            blank: disk.cluster.is_none(),
            incarnation: format!("{:016x}", disk.incarnation),
        }
    }

    /// A view from a pass that began after this call.
    async fn fresh_view(&self, member: &Arc<Member>) -> Result<ClusterView, Status> {
        let mut passes = member.passes.subscribe();
        let (begun, _) = *passes.borrow();
        member.look.notify_one();
        let published = passes.wait_for(|(_, published)| *published > begun);
        match tokio::time::timeout(LOOK, published).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(Status::unavailable("this node is stopping")),
            Err(_) => return Err(Status::unavailable("this node could not confirm that it coordinates")),
        }
        let view = member.view.subscribe();
        let now = view.borrow().clone();
        now.map(|v| as_of_now(member, &v)).ok_or_else(|| Status::unavailable("this node does not coordinate"))
    }

    async fn propose(&self, member: &Member, kind: Kind) -> Result<CatalogueOutcome, Status> {
        let outcome = member.propose(kind, Instant::now() + TIMEOUT).await.map_err(catalogue)?;
        member.look.notify_one();
        Ok(outcome)
    }

    async fn declare_one(&self, member: &Member, d: pb::StoreDeclaration) -> Result<pb::DeclareResult, Status> {
        let mut result =
            pb::DeclareResult { namespace: d.namespace.clone(), name: d.name.clone(), ..Default::default() };
        let name = match StoreName::new(&d.namespace, &d.name) {
            Ok(name) => name,
            Err(e) => {
                (result.reason, result.message) = ("InvalidSpec".into(), e.to_string());
                return Ok(result);
            }
        };
        let adopt = if d.store_id.is_empty() { None } else { Some(StoreId::new(uuid("store_id", &d.store_id)?)) };
        let declaration = Declaration {
            name,
            replicas: d.replicas,
            adopt,
            minted: StoreId::new(rt::new_uuid()),
            declared_by: d.declared_by,
        };
        match self.propose(member, Kind::Declare(declaration)).await? {
            CatalogueOutcome::Store(id) => result.store_id = id.to_string(),
            CatalogueOutcome::Refused(why) => {
                if let Refused::RetainedDataExists { id, .. } = &why {
                    result.store_id = id.to_string();
                }
                (result.reason, result.message) = (reason(&why).into(), why.to_string());
            }
            other => return Err(Status::internal(format!("unexpected answer {other:?}"))),
        }
        Ok(result)
    }
}

/// The view with the time that grants have left. The published view leaves it out: it would change at every moment.
fn as_of_now(member: &Member, view: &ClusterView) -> ClusterView {
    let mut view = view.clone();
    tell_time_left(&mut view, &member.applied(), rt::now_us());
    view
}

fn tell_time_left(view: &mut ClusterView, catalogue: &Catalogue, now_us: u64) {
    // The clock of the catalogue may be ahead of ours; a grant runs out by whichever is later.
    let now_us = now_us.max(catalogue.clock_us);
    for grant in &mut view.grants {
        let live = catalogue.live_grant(now_us).filter(|g| g.node.get() == grant.node_id && g.holder == grant.holder);
        grant.expires_in_ms =
            live.map_or(0, |g| i64::try_from(g.until_us.saturating_sub(now_us).div_ceil(1_000)).unwrap_or(i64::MAX));
    }
}

/// The system group has two voters and this node is one of them. It may be away for a while, since no arrangement could do
/// better, but it is not given up: with it the group would lose its majority for good.
fn half_of_the_system(view: &ClusterView, node: NodeId) -> bool {
    let voters = || view.nodes.iter().filter_map(|n| n.node.as_ref()).filter(|n| n.system_voter);
    voters().count() == 2 && voters().any(|n| n.node_id == node.get())
}

/// The reason of a refusal, as conditions use it.
fn reason(why: &Refused) -> &'static str {
    match why {
        Refused::NotEnoughNodes { .. } => "NotEnoughNodes",
        Refused::RetainedDataExists { .. } => "RetainedDataExists",
        Refused::NameTaken { .. } => "NameTaken",
        Refused::StoreNotFound(_) => "StoreNotFound",
        Refused::StoreRemoving(_) => "Deleting",
        Refused::InvalidReplicas(_) => "InvalidSpec",
        Refused::WrongCluster
        | Refused::BadNode(_)
        | Refused::BadReplica(_)
        | Refused::StillNamed(_)
        | Refused::GrantHeld { .. } => "Refused",
    }
}

fn node(id: u64) -> Result<NodeId, Status> {
    if id == 0 { Err(Status::invalid_argument("node_id: must not be 0")) } else { Ok(NodeId::new(id)) }
}

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
        let request = request.into_inner();
        self.check_disk(&request.disk_id)?;
        let cluster = ClusterId::new(uuid("cluster_id", &request.cluster_id)?);
        let (tx, rx) = oneshot::channel();
        let node = self.tell(Told::Bootstrap(cluster, tx), rx).await?;
        Ok(Response::new(pb::BootstrapResponse { node_id: node.get() }))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        let request = request.into_inner();
        self.check_disk(&request.disk_id)?;
        let cluster = ClusterId::new(uuid("cluster_id", &request.cluster_id)?);
        // A node that is joining already does not listen: it has what it needs.
        if self.disk.borrow().cluster == Some(cluster) {
            return Ok(Response::new(pb::JoinResponse {}));
        }
        let (tx, rx) = oneshot::channel();
        self.tell(Told::Join(cluster, tx), rx).await?;
        Ok(Response::new(pb::JoinResponse {}))
    }

    async fn view(&self, request: Request<pb::ViewRequest>) -> Result<Response<ClusterView>, Status> {
        let member = pass_on!(self, request, view);
        self.fresh_view(&member).await.map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<ClusterView, Status>> + Send>>;

    async fn watch(&self, request: Request<pb::ViewRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let member = match self.place().await? {
            Place::Here(member) => member,
            Place::There(mut client) => {
                let stream = client.watch(request.into_inner()).await?.into_inner();
                return Ok(Response::new(Box::pin(stream)));
            }
        };
        let (tx, rx) = mpsc::channel(1);
        rt::spawn(async move {
            let mut view = member.view.subscribe();
            loop {
                let now = view.borrow_and_update().clone();
                match now {
                    Some(now) => {
                        let sent = tx.send(Ok(as_of_now(&member, &now))).await;
                        if sent.is_err() {
                            return;
                        }
                    }
                    None if !member.system.leads() => {
                        drop(tx.send(Err(Status::unavailable("the coordinator has changed"))).await);
                        return;
                    }
                    None => {}
                }
                tokio::select! {
                    biased;
                    () = member.parts.stop.cancelled() => return,
                    () = tx.closed() => return,
                    changed = view.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }

    async fn declare_stores(
        &self,
        request: Request<pb::DeclareStoresRequest>,
    ) -> Result<Response<pb::DeclareStoresResponse>, Status> {
        let member = pass_on!(self, request, declare_stores);
        let mut results = Vec::new();
        for declaration in request.into_inner().stores {
            results.push(self.declare_one(&member, declaration).await?);
        }
        Ok(Response::new(pb::DeclareStoresResponse { results }))
    }

    async fn close_store(
        &self,
        request: Request<pb::CloseStoreRequest>,
    ) -> Result<Response<pb::CloseStoreResponse>, Status> {
        let member = pass_on!(self, request, close_store);
        let request = request.into_inner();
        let mode = match request.mode() {
            pb::CloseMode::Retain => Mode::Retain,
            pb::CloseMode::Delete => Mode::Delete,
            pb::CloseMode::Unspecified => return Err(Status::invalid_argument("mode: must be RETAIN or DELETE")),
        };
        let store = StoreId::new(uuid("store_id", &request.store_id)?);
        let kind = Kind::Close { store, mode, declared_by: request.declared_by };
        if let CatalogueOutcome::Refused(why) = self.propose(&member, kind).await? {
            return Err(refused(&why));
        }
        let catalogue = member.applied();
        let left = catalogue.stores.get(&store).and_then(|s| catalogue.groups.get(&s.group));
        let (done, waiting_for) = match (mode, left) {
            (Mode::Retain, _) | (Mode::Delete, None) => {
                (!catalogue.stores.contains_key(&store) || mode == Mode::Retain, String::new())
            }
            (Mode::Delete, Some(group)) => (false, format!("{} nodes still remove their data", group.replicas.len())),
        };
        Ok(Response::new(pb::CloseStoreResponse { done, waiting_for }))
    }

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let member = pass_on!(self, request, drain_node);
        let id = node(request.into_inner().node_id)?;
        if let CatalogueOutcome::Refused(why) = self.propose(&member, Kind::Drain(id)).await? {
            return Err(refused(&why));
        }
        let gone = |c: &taffrail_core::catalogue::Catalogue| {
            c.nodes.get(&id).is_none_or(|n| matches!(n.state, taffrail_core::catalogue::NodeState::Removed { .. }))
        };
        let view = self.fresh_view(&member).await?;
        let done = gone(&member.applied());
        let blocked = view.stores.iter().find(|s| s.reason == "ScaleDownBlocked");
        let (reason, waiting_for) = match blocked {
            Some(store) if !done => {
                let name = store.store.as_ref().map_or("", |s| s.name.as_str());
                ("ScaleDownBlocked".to_owned(), format!("store {name}: {}", store.waiting_for))
            }
            _ => {
                let seen = view.nodes.iter().find(|n| n.node.as_ref().is_some_and(|n| n.node_id == id.get()));
                (String::new(), seen.map(|n| n.waiting_for.clone()).unwrap_or_default())
            }
        };
        Ok(Response::new(pb::DrainNodeResponse { done, reason, waiting_for }))
    }

    async fn cancel_drain(
        &self,
        request: Request<pb::CancelDrainRequest>,
    ) -> Result<Response<pb::CancelDrainResponse>, Status> {
        let member = pass_on!(self, request, cancel_drain);
        let id = node(request.into_inner().node_id)?;
        match self.propose(&member, Kind::CancelDrain(id)).await? {
            CatalogueOutcome::Refused(why) => Err(refused(&why)),
            _ => Ok(Response::new(pb::CancelDrainResponse {})),
        }
    }

    async fn replace_node(
        &self,
        request: Request<pb::ReplaceNodeRequest>,
    ) -> Result<Response<pb::ReplaceNodeResponse>, Status> {
        let member = pass_on!(self, request, replace_node);
        let request = request.into_inner();
        let old = node(request.old_node_id)?;
        let new = (request.new_node_id != 0).then(|| NodeId::new(request.new_node_id));
        // Only a node that every group can do without is given up.
        let observed = self.fresh_view(&member).await?;
        let view = observed.nodes.iter().find(|n| n.node.as_ref().is_some_and(|n| n.node_id == old.get()));
        if let Some(view) = view
            && (!view.disruption_blocked_by.is_empty() || half_of_the_system(&observed, old))
            && view.node.as_ref().is_some_and(|n| n.state() == taffrail_proto::v1::NodeState::Member)
            && !observed.replacements.iter().any(|r| r.old_node_id == old.get())
        {
            let why = match view.disruption_blocked_by.as_str() {
                "" => "it is one of two voters of the system group",
                why => why,
            };
            let waiting_for = format!("the node is still needed: {why}");
            return Ok(Response::new(pb::ReplaceNodeResponse { done: false, waiting_for }));
        }
        if let CatalogueOutcome::Refused(why) = self.propose(&member, Kind::Replace { old, new }).await? {
            return Err(refused(&why));
        }
        let done = member
            .applied()
            .nodes
            .get(&old)
            .is_none_or(|n| matches!(n.state, taffrail_core::catalogue::NodeState::Removed { .. }));
        let waiting = observed.replacements.iter().find(|r| r.old_node_id == old.get());
        let waiting_for = waiting.map(|r| r.waiting_for.clone()).unwrap_or_default();
        Ok(Response::new(pb::ReplaceNodeResponse { done, waiting_for }))
    }

    async fn transfer_leaders(
        &self,
        request: Request<pb::TransferLeadersRequest>,
    ) -> Result<Response<pb::TransferLeadersResponse>, Status> {
        let member = pass_on!(self, request, transfer_leaders);
        let id = node(request.into_inner().node_id)?;
        let remaining = crate::coordinator::act::transfer_all(&member, id).await;
        Ok(Response::new(pb::TransferLeadersResponse { remaining }))
    }

    async fn acquire_disruption(
        &self,
        request: Request<pb::AcquireDisruptionRequest>,
    ) -> Result<Response<pb::AcquireDisruptionResponse>, Status> {
        let member = pass_on!(self, request, acquire_disruption);
        let request = request.into_inner();
        let id = node(request.node_id)?;
        if request.holder.is_empty() || request.holder.len() > 128 {
            return Err(Status::invalid_argument("holder: must be 1 to 128 bytes"));
        }
        let denied = |why: String| Ok(Response::new(pb::AcquireDisruptionResponse { granted: false, denied_by: why }));
        let view = self.fresh_view(&member).await?;
        let seen = view.nodes.iter().find(|n| n.node.as_ref().is_some_and(|n| n.node_id == id.get()));
        match seen {
            None => return denied(format!("there is no node {id}")),
            Some(seen) if !seen.disruption_blocked_by.is_empty() => return denied(seen.disruption_blocked_by.clone()),
            Some(_) => {}
        }
        let kind = Kind::AcquireGrant {
            node: id,
            holder: request.holder,
            ttl_us: request.ttl_ms.clamp(1_000, 3_600_000) * 1_000,
        };
        match self.propose(&member, kind).await? {
            CatalogueOutcome::Refused(why) => denied(why.to_string()),
            _ => Ok(Response::new(pb::AcquireDisruptionResponse { granted: true, denied_by: String::new() })),
        }
    }

    async fn release_disruption(
        &self,
        request: Request<pb::ReleaseDisruptionRequest>,
    ) -> Result<Response<pb::ReleaseDisruptionResponse>, Status> {
        let member = pass_on!(self, request, release_disruption);
        let request = request.into_inner();
        let id = node(request.node_id)?;
        let view = self.fresh_view(&member).await?;
        let seen = view.nodes.iter().find(|n| n.node.as_ref().is_some_and(|n| n.node_id == id.get()));
        if seen.is_some_and(|n| !n.caught_up) {
            return Ok(Response::new(pb::ReleaseDisruptionResponse { released: false }));
        }
        self.propose(&member, Kind::ReleaseGrant { node: id, holder: request.holder }).await?;
        Ok(Response::new(pb::ReleaseDisruptionResponse { released: true }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::catalogue::Grant;
    use taffrail_proto::v1;

    #[test]
    fn a_grant_shows_the_time_it_has_left() {
        let grant = Grant { node: NodeId::new(2), holder: "o".into(), until_us: 61_000_000 };
        let mut catalogue = Catalogue { clock_us: 1_000_000, grant: Some(grant), ..Catalogue::default() };
        let shown = |node_id| pb::Grant { node_id, holder: "o".into(), expires_in_ms: 0 };
        let left = |catalogue: &Catalogue, now_us: u64| {
            let mut view = ClusterView { grants: vec![shown(2), shown(3)], ..ClusterView::default() };
            tell_time_left(&mut view, catalogue, now_us);
            view.grants.iter().map(|g| g.expires_in_ms).collect::<Vec<_>>()
        };
        assert_eq!(left(&catalogue, 1_000_000), [60_000, 0], "and another node's is not ours");
        assert_eq!(left(&catalogue, 31_000_000), [30_000, 0]);
        assert_eq!(left(&catalogue, 60_999_999), [1, 0], "never 0 while it is live");
        assert_eq!(left(&catalogue, 61_000_000), [0, 0]);
        catalogue.clock_us = 41_000_000;
        assert_eq!(left(&catalogue, 0), [20_000, 0], "by the clock of the catalogue if that is later");
    }

    #[test]
    fn one_of_two_system_voters_is_not_given_up() {
        let node = |node_id, system_voter| pb::NodeView {
            node: Some(v1::Node { node_id, system_voter, ..v1::Node::default() }),
            ..pb::NodeView::default()
        };
        let view = |nodes| ClusterView { nodes, ..ClusterView::default() };
        let two = view(vec![node(1, true), node(2, true), node(3, false)]);
        assert!(half_of_the_system(&two, NodeId::new(1)) && !half_of_the_system(&two, NodeId::new(3)));
        let three = view(vec![node(1, true), node(2, true), node(3, true)]);
        assert!(!half_of_the_system(&three, NodeId::new(1)));
    }
}
