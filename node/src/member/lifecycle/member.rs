//! Last state of the lifecycle: a disk with a node id. The system replica starts, the system group confirms the
//! membership, then the store replicas start.

use super::{
    ATTEMPT_TIMEOUT, End, FIRST, LifecycleRequest,
    common::{Common, retry_pause},
    failed,
};
use crate::{
    config::Discovery,
    exit::Code,
    identity::Bootstrap,
    member::{deadline::Deadline, member::Member, readiness::Readiness, ready, replicas},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Declaration, Kind},
    ids::{ClusterId, NodeId, StoreId},
    names::StoreName,
};
use taffrail_proto::{admin::FenceCause, peer::register_response::Answer};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::time::Instant;

/// Interval at which a node that does not lead the system group checks that the disk is still a member.
const MEMBERSHIP_RECHECK: Duration = Duration::from_secs(10);
/// Interval between two checks whether groups should purge their logs.
const PURGE_EVERY: Duration = Duration::from_secs(1);

/// A disk with a node id, which serves after the confirmation of the membership.
pub(super) struct Serving {
    common: Common,
    start: Start,
    /// Stores declared by the node itself: the default store with discovery `single`, otherwise none.
    own_stores: Vec<String>,
}

/// State of the system replica at the beginning of [`Serving::run`].
enum Start {
    Pending { cluster: ClusterId, node: NodeId },
    Started(Arc<Member>),
}

impl Serving {
    /// Creates the state of a disk with node id `node` in `cluster`. [`Serving::run`] starts the system replica.
    pub(super) fn new(common: Common, cluster: ClusterId, node: NodeId) -> Self {
        Self::with(common, Start::Pending { cluster, node })
    }

    /// Creates the state of a disk whose bootstrap has started the system replica.
    pub(super) fn started(common: Common, member: Arc<Member>) -> Self {
        Self::with(common, Start::Started(member))
    }

    fn with(common: Common, start: Start) -> Self {
        let own_stores = match &common.handles.config.discovery {
            Discovery::Single => common.handles.config.default_store.clone().into_iter().collect(),
            Discovery::Kubernetes { .. } | Discovery::Static { .. } => Vec::new(),
        };
        Self { common, start, own_stores }
    }

    /// Waits until the system group confirms that this disk is a member, then serves until the disk is removed.
    pub(super) async fn run(mut self) -> Result<(), End> {
        self.common.publish_identity();
        let member = match &self.start {
            Start::Started(member) => Arc::clone(member),
            Start::Pending { cluster, node } => self.common.start_member(*cluster, *node).await?,
        };
        loop {
            match self.confirm(&member).await {
                Some(Answer::Member) => break,
                Some(Answer::Drained | Answer::ForcedWhole) => return self.retire(&member).await,
                Some(Answer::Forced) => {
                    let reason =
                        "this disk was removed by force; the node waits until all groups of the disk are complete elsewhere"
                            .to_owned();
                    let cause = FenceCause::Removed;
                    self.common.handles.readiness.send_replace(Readiness::Fenced { cause, reason });
                }
                Some(Answer::Unspecified) | None => {}
            }
            retry_pause().await;
        }
        // The applied catalogue may be older than a catalogue that this disk has applied before, because state is
        // flushed rarely. Replicas are removed only after a majority has confirmed that the catalogue is current.
        while member.system.read_index(Instant::now() + ATTEMPT_TIMEOUT).await.is_err() {
            // A disk that was removed after the confirmation gets no read index any more, and must still retire.
            if matches!(self.confirm(&member).await, Some(Answer::Drained | Answer::ForcedWhole)) {
                return self.retire(&member).await;
            }
            retry_pause().await;
        }
        replicas::reconcile(&member, &member.applied()).await;
        if let Err(error) = replicas::remove_unnamed(&member).await {
            tracing::warn!(%error, "replicas that the catalogue no longer names could not be removed");
        }
        let of_node = || TaskKind::Node(member.parts.stop.clone());
        rt::spawn_task("replicas", of_node(), replicas::follow(Arc::clone(&member)));
        rt::spawn_task("purge", of_node(), purge(Arc::clone(&member)));
        // A node with discovery `single` is ready only after the declaration of its store.
        self.declare_own(&member).await;
        let barrier = ready::barrier(Arc::clone(&member), Arc::clone(&self.common.handles.readiness));
        rt::spawn_task("start barrier", TaskKind::Part, barrier);
        self.watch_membership(&member).await
    }

    /// Asks the system group, on this node or through any peer, whether the disk is a member. Returns `None`
    /// without an answer.
    async fn confirm(&self, member: &Arc<Member>) -> Option<Answer> {
        if self.common.handles.readiness.borrow().clone() == Readiness::Starting {
            self.common.handles.readiness.send_replace(Readiness::Joining);
        }
        if member.system.leads() {
            let kind = Kind::Register(self.common.registration());
            return match member.propose_here(kind, Instant::now() + ATTEMPT_TIMEOUT).await {
                Ok(CatalogueOutcome::Node(node)) if node == member.node() => Some(Answer::Member),
                Ok(CatalogueOutcome::NodeRemoved { forced, .. }) => {
                    Some(if forced { Answer::ForcedWhole } else { Answer::Drained })
                }
                Ok(_) | Err(_) => None,
            };
        }
        let response = self.common.register(false).await.ok()?;
        match response.answer() {
            Answer::Member if response.node_id != member.node().get() => {
                tracing::error!(
                    cluster_node_id = response.node_id, node_id = %member.node(),
                    "the cluster knows this disk under another node id"
                );
                None
            }
            answer
            @ (Answer::Unspecified | Answer::Member | Answer::Drained | Answer::Forced | Answer::ForcedWhole) => {
                Some(answer)
            }
        }
    }

    /// Checks the membership periodically and answers requests, until the disk is removed from the cluster.
    async fn watch_membership(&mut self, member: &Arc<Member>) -> Result<(), End> {
        let mut every = tokio::time::interval(MEMBERSHIP_RECHECK);
        loop {
            tokio::select! {
                biased;
                _ = every.tick() => {}
                request = self.common.requests.recv() => {
                    self.answer_request(request);
                    continue;
                }
            }
            if member.system.leads() {
                continue;
            }
            // A drained node learns of the removal from peers, because the system group no longer replicates
            // to the node.
            if let Ok(response) = self.common.register(false).await
                && matches!(response.answer(), Answer::Drained | Answer::ForcedWhole)
            {
                return self.retire(member).await;
            }
        }
    }

    fn answer_request(&self, request: Option<LifecycleRequest>) {
        let cluster = self.common.dir.cluster();
        let refusal =
            || format!("this node already belongs to cluster {}", cluster.map_or_else(String::new, |c| c.to_string()));
        match request {
            Some(LifecycleRequest::Bootstrap(wanted, answer)) => {
                let same = cluster == Some(wanted) && self.common.dir.bootstrap() == Bootstrap::Done;
                drop(answer.send(if same { Ok(FIRST) } else { Err(refusal()) }));
            }
            Some(LifecycleRequest::Join(wanted, answer)) => {
                drop(answer.send(if cluster == Some(wanted) { Ok(()) } else { Err(refusal()) }));
            }
            None => {}
        }
    }

    async fn retire(&mut self, member: &Arc<Member>) -> Result<(), End> {
        self.common.handles.handler.fence("this disk was removed from the cluster; its data is retired");
        let (cause, reason) = (FenceCause::Removed, "removed from the cluster".into());
        self.common.handles.readiness.send_replace(Readiness::Fenced { cause, reason });
        // The tasks of the member end before the replicas that they use.
        member.parts.stop.cancel();
        if !member.stop_replicas(Deadline::after(self.common.handles.config.grace)).await.is_empty() {
            // A replica that has not stopped may still write, so the data is not moved now. The next start gets the
            // same answer and moves the data.
            return Err(failed(
                "this disk was removed from the cluster, but a replica did not stop; the next start retires the data",
            ));
        }
        // The databases are still open, but no task writes any more, and the process ends right after.
        self.common.dir.retire(rt::new_uuid())?;
        Err(End {
            code: Code::Retired,
            why: "this disk was removed from the cluster and its data is retired; the next start joins as a new node"
                .into(),
        })
    }

    /// Declares the stores of a node with discovery `single`. In a cluster, the operator declares the stores.
    async fn declare_own(&self, member: &Arc<Member>) {
        for name in &self.own_stores {
            let Ok(name) = StoreName::new(&self.common.handles.config.namespace, name) else { continue };
            let declaration = Declaration {
                name: name.clone(),
                replicas: 1,
                adopt: None,
                minted: StoreId::new(rt::new_uuid()),
                declared_by: String::new(),
            };
            while !declared(member, &declaration).await {
                tokio::select! {
                    biased;
                    () = self.common.handles.stop.cancelled() => return,
                    () = retry_pause() => {}
                }
            }
        }
    }
}

/// Declares a store once. Returns true if no further attempt is needed: the store exists, or the catalogue
/// refused the store.
async fn declared(member: &Arc<Member>, declaration: &Declaration) -> bool {
    let store = &declaration.name;
    match member.propose(Kind::Declare(declaration.clone()), Instant::now() + ATTEMPT_TIMEOUT).await {
        Ok(CatalogueOutcome::Store(_)) => true,
        Ok(other) => {
            tracing::error!(%store, answer = ?other, "the catalogue refused to create the store");
            true
        }
        Err(error) => {
            tracing::warn!(%store, %error, "the store is not created yet; trying again");
            false
        }
    }
}

/// Checks every second which groups have enough entries to purge their logs, until the member stops.
async fn purge(member: Arc<Member>) {
    loop {
        for running in member.all_running() {
            running.group.purge_if_due().await;
        }
        member.system.purge_if_due().await;
        tokio::select! {
            biased;
            () = member.parts.stop.cancelled() => return,
            () = tokio::time::sleep(PURGE_EVERY) => {}
        }
    }
}
