//! RPCs about this node (`Status`, `Bootstrap`, `Join`). These RPCs are never forwarded: the node answers in
//! every state of the lifecycle.

use super::{Service, parse::uuid, propose::TIMEOUT};
use crate::{
    disk_space::Level,
    member::{lifecycle::LifecycleRequest, readiness::Readiness},
};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use taffrail_proto::admin::{self as pb, FenceCause, Lifecycle, NodeStatus};
use tokio::sync::oneshot;
use tonic::Status;

impl Service {
    pub(super) async fn begin_cluster(&self, request: pb::BootstrapRequest) -> Result<pb::BootstrapResponse, Status> {
        self.check_disk(&request.disk_id)?;
        let cluster = ClusterId::new(uuid("cluster_id", &request.cluster_id)?);
        let (tx, rx) = oneshot::channel();
        let node = self.tell(LifecycleRequest::Bootstrap(cluster, tx), rx).await?;
        Ok(pb::BootstrapResponse { node_id: node.get() })
    }

    pub(super) async fn join_cluster(&self, request: pb::JoinRequest) -> Result<pb::JoinResponse, Status> {
        self.check_disk(&request.disk_id)?;
        let cluster = ClusterId::new(uuid("cluster_id", &request.cluster_id)?);
        // The lifecycle reads no requests while the node joins this cluster.
        if self.disk.borrow().cluster == Some(cluster) {
            return Ok(pb::JoinResponse {});
        }
        let (tx, rx) = oneshot::channel();
        self.tell(LifecycleRequest::Join(cluster, tx), rx).await?;
        Ok(pb::JoinResponse {})
    }

    fn check_disk(&self, wanted: &str) -> Result<(), Status> {
        let wanted = DiskId::new(uuid("disk_id", wanted)?);
        let is = self.disk.borrow().disk;
        if is == Some(wanted) {
            Ok(())
        } else {
            Err(Status::failed_precondition(
                "disk_id: this node has another disk; Status of this node returns the current disk_id",
            ))
        }
    }

    async fn tell<T>(
        &self,
        request: LifecycleRequest,
        answer: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, Status> {
        self.requests.send(request).await.map_err(|_| Status::unavailable("this node is stopping"))?;
        match tokio::time::timeout(TIMEOUT * 3, answer).await {
            Ok(Ok(done)) => done.map_err(Status::failed_precondition),
            Ok(Err(_)) => Err(Status::unavailable("this node is stopping")),
            Err(_) => Err(Status::deadline_exceeded("still in progress; retry")),
        }
    }

    pub(super) fn status_now(&self) -> NodeStatus {
        let disk = self.disk.borrow().clone();
        let space = self.space.now();
        let readiness = self.readiness.borrow().clone();
        let member = self.member.borrow().clone();
        let (cause, fenced) = match &readiness {
            Readiness::Fenced { cause, reason } => (*cause, reason.clone()),
            Readiness::Starting
            | Readiness::WaitingForCluster
            | Readiness::Joining
            | Readiness::CatchingUp { .. }
            | Readiness::ShuttingDown
            | Readiness::Ready => (FenceCause::Unspecified, String::new()),
        };
        let lifecycle = if cause != FenceCause::Unspecified {
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
            fence_cause: cause.into(),
            coordinator_node_id: member.as_ref().and_then(|m| m.system.leader()).map(|l| l.node.get()),
            group_count: member.as_ref().map_or(0, |m| u32::try_from(m.all_running().len() + 1).unwrap_or(u32::MAX)),
            leader_count: member.as_ref().map_or(0, |m| u32::try_from(m.leaderships()).unwrap_or(u32::MAX)),
            blank: disk.cluster.is_none(),
            incarnation: format!("{:016x}", disk.incarnation),
            disk_total_bytes: space.measured().map(|s| s.total_bytes),
            disk_free_bytes: space.measured().map(|s| s.free_bytes),
            storage_low: space.level > Level::Enough,
        }
    }
}
