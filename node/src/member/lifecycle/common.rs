//! Parts shared by all states of the lifecycle: process handles, data directory, and the requests of the admin service.

use super::{ATTEMPT_TIMEOUT, DiskStatus, End, LifecycleRequest, ProcessHandles, RETRY_PAUSE};
use crate::{
    coordinator,
    identity::DataDir,
    member::{
        fence,
        member::{Member, Parts},
        peer_handler,
    },
};
use prost::Message;
use std::sync::Arc;
use taffrail_core::{
    catalogue::{Registration, Rules},
    ids::{ClusterId, GroupId, NodeId, ReplicaId},
};
use taffrail_proto::peer::{FrameKind, RefusalKind, RegisterRequest, RegisterResponse};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    group::Home,
    peer::{CallError, Request, ask_any},
};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::mpsc;

/// Parts that move from state to state.
pub(super) struct Common {
    pub(super) handles: ProcessHandles,
    pub(super) dir: DataDir,
    pub(super) requests: mpsc::Receiver<LifecycleRequest>,
}

impl Common {
    /// Creates the shared parts; publishes no identity yet.
    pub(super) fn new(handles: ProcessHandles, dir: DataDir, requests: mpsc::Receiver<LifecycleRequest>) -> Self {
        Self { handles, dir, requests }
    }

    /// Publishes cluster, disk and node id to `Status`, to the handshake and to the transport.
    pub(super) fn publish_identity(&self) {
        self.publish(self.dir.node(), false);
    }

    /// Publishes the identity of a disk that went back to an earlier state: without the node id, because replicas with
    /// newer data may run under the id.
    pub(super) fn publish_reverted(&self) {
        self.publish(None, true);
    }

    fn publish(&self, node: Option<NodeId>, reverted: bool) {
        let handles = &self.handles;
        handles.disk.send_replace(DiskStatus {
            cluster: self.dir.cluster(),
            disk: Some(self.dir.disk()),
            node: self.dir.node(),
            incarnation: self.dir.starts().last().map_or(0, |start| start.nonce),
        });
        if let Some(node) = self.dir.node() {
            tracing::Span::current().record("node", node.get());
        }
        let Some(cluster) = self.dir.cluster() else { return };
        let mut identity = peer_handler::identity(
            cluster,
            self.dir.disk(),
            node,
            &handles.config.name,
            &handles.config.advertise,
            &self.dir.starts(),
            env!("CARGO_PKG_VERSION"),
        );
        identity.reverted = reverted;
        identity.client_address = handles.config.client_address().unwrap_or_default();
        handles.own.send_replace(Some((cluster, node.unwrap_or_default())));
        handles.identity.send_replace(Some(identity));
    }

    /// Returns the registration of this disk, as sent to the catalogue.
    pub(super) fn registration(&self) -> Registration {
        Registration {
            disk: self.dir.disk(),
            name: self.handles.config.name.clone(),
            address: self.handles.config.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// Registers the disk at any peer. For a registered disk, the answer is the node id or the removal of the disk. For
    /// a disk that went back to an earlier state, the answer says whether the data may be retired.
    pub(super) async fn register(&self, reverted: bool) -> Result<RegisterResponse, CallError> {
        let r = self.registration();
        let register = RegisterRequest {
            disk_id: r.disk.to_bytes().to_vec().into(),
            name: r.name,
            address: r.address,
            version: r.version,
            reverted,
            known_catalogue_rules: Rules::KNOWN.catalogue,
            known_store_rules: Rules::KNOWN.stores,
        };
        let request = Request {
            kind: FrameKind::Register,
            group: GroupId::SYSTEM,
            from_replica: ReplicaId::default(),
            to_replica: ReplicaId::default(),
            payload: register.encode_to_vec().into(),
        };
        let (transport, peers) = (&*self.handles.transport, &*self.handles.peers);
        let answer = ask_any(transport, peers, request, ATTEMPT_TIMEOUT).await;
        if let Err(CallError::Refused(no)) = &answer
            && no.kind() == RefusalKind::Rejected
        {
            tracing::warn!(why = no.message, "a peer refuses to register this disk");
        }
        let answer = answer?;
        RegisterResponse::decode(answer).map_err(|e| CallError::NoAnswer(e.to_string()))
    }

    /// Starts the system replica and the coordinator, and publishes the member.
    pub(super) async fn start_member(&self, cluster: ClusterId, node: NodeId) -> Result<Arc<Member>, End> {
        let handles = &self.handles;
        let parts = Parts {
            registration: self.registration(),
            home: Home {
                cluster,
                node,
                disk: Arc::clone(&handles.log),
                transport: Arc::clone(&handles.transport),
                tuning: handles.config.raft.clone(),
                catch_ups: CatchUpLimits::with_room(
                    handles.config.raft.catch_up_bytes_per_second,
                    Some(handles.space.room()),
                ),
                on_fatal: Arc::clone(&handles.on_fatal),
            },
            db: Arc::clone(&handles.db),
            space: Arc::clone(&handles.space),
            finalize_upgrade: handles.config.finalize_upgrade,
            wrap: Arc::clone(&handles.wrap),
            stop: handles.stop.child_token(),
        };
        let member = Member::start(parts).await.map_err(super::failed)?;
        fence::say_all(&member);
        handles.member.send_replace(Some(Arc::clone(&member)));
        let kind = TaskKind::Node(member.parts.stop.clone());
        rt::spawn_task("coordinator", kind, coordinator::run(Arc::clone(&member)));
        Ok(member)
    }
}

/// Waits before the next attempt: [`RETRY_PAUSE`] and a random part of the same length.
pub(super) async fn retry_pause() {
    tokio::time::sleep(RETRY_PAUSE + rt::jitter(RETRY_PAUSE)).await;
}
