//! A disk with a node id: the system replica runs, the membership is confirmed, then the stores are served.

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
use taffrail_proto::peer::register_response::Answer;
use taffrail_runtime as rt;
use tokio::time::Instant;

/// How often a node that does not lead the system group asks whether the disk is still a member.
const MEMBERSHIP_RECHECK: Duration = Duration::from_secs(10);
/// How often a group may purge its log.
const PURGE_EVERY: Duration = Duration::from_secs(1);

/// The disk of a member.
pub(super) struct Serving {
    common: Common,
    start: Start,
    /// Stores that a node with discovery `single` declares for itself.
    own_stores: Vec<String>,
}

/// Whether the system replica runs already.
enum Start {
    Pending { cluster: ClusterId, node: NodeId },
    Started(Arc<Member>),
}

impl Serving {
    /// A disk with node id `node` in `cluster`.
    pub(super) fn new(common: Common, cluster: ClusterId, node: NodeId) -> Self {
        Self::with(common, Start::Pending { cluster, node })
    }

    /// A disk whose bootstrap has started the system replica.
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

    /// Waits until the system group confirms that this disk is a member, then serves.
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
                        "this disk was removed by force; it waits until its groups are whole elsewhere".to_owned();
                    self.common.handles.readiness.send_replace(Readiness::Fenced { reason });
                }
                Some(Answer::Unspecified) | None => {}
            }
            retry_pause().await;
        }
        // What is applied here may be older than what this disk has seen: state is flushed rarely. Nothing is removed on the
        // word of a catalogue that a majority has not confirmed to be current.
        while member.system.read_index(Instant::now() + ATTEMPT_TIMEOUT).await.is_err() {
            retry_pause().await;
        }
        replicas::reconcile(&member, &member.applied()).await;
        if let Err(error) = replicas::remove_unnamed(&member).await {
            tracing::warn!(%error, "replicas that are no longer named could not be removed");
        }
        rt::spawn(replicas::follow(Arc::clone(&member)));
        rt::spawn(purge(Arc::clone(&member)));
        // A node that is alone is ready once its store is there.
        self.declare_own(&member).await;
        rt::spawn(ready::barrier(Arc::clone(&member), Arc::clone(&self.common.handles.readiness)));
        self.watch_membership(&member).await
    }

    /// The answer of the system group, here or at any peer; none: nobody could say.
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
        let response = self.common.register().await.ok()?;
        match response.answer() {
            Answer::Member if response.node_id != member.node().get() => {
                tracing::error!(told = response.node_id, is = %member.node(), "the cluster knows this disk under another id");
                None
            }
            answer
            @ (Answer::Unspecified | Answer::Member | Answer::Drained | Answer::Forced | Answer::ForcedWhole) => {
                Some(answer)
            }
        }
    }

    /// Stays a member until the catalogue says otherwise.
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
            // A drained node hears of its end from its peers: the group that told it so has left it behind.
            if let Ok(response) = self.common.register().await
                && matches!(response.answer(), Answer::Drained | Answer::ForcedWhole)
            {
                return self.retire(member).await;
            }
        }
    }

    fn answer_request(&self, request: Option<LifecycleRequest>) {
        let cluster = self.common.dir.cluster();
        let refusal =
            || format!("this node belongs to cluster {} already", cluster.map_or_else(String::new, |c| c.to_string()));
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
        self.common.handles.readiness.send_replace(Readiness::Fenced { reason: "removed from the cluster".into() });
        if !member.stop_replicas(Deadline::after(self.common.handles.config.grace)).await.is_empty() {
            // Its data is not moved under a replica that may still write; the next start is told the same and moves it.
            return Err(failed(
                "this disk was removed from the cluster, and a replica did not stop; the next start retires it",
            ));
        }
        // The databases are still open, but nothing writes to them any more and the process ends right after.
        self.common.dir.retire(rt::new_uuid())?;
        Err(End {
            code: Code::Retired,
            why: "this disk was removed from the cluster; it starts again as a new node".into(),
        })
    }

    /// A node that is alone declares its store itself; in a cluster the operator does.
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

/// Whether a store is there now; what the catalogue refuses is not tried again.
async fn declared(member: &Arc<Member>, declaration: &Declaration) -> bool {
    let store = &declaration.name;
    match member.propose(Kind::Declare(declaration.clone()), Instant::now() + ATTEMPT_TIMEOUT).await {
        Ok(CatalogueOutcome::Store(_)) => true,
        Ok(other) => {
            tracing::error!(%store, answer = ?other, "the store was not made");
            true
        }
        Err(error) => {
            tracing::warn!(%store, %error, "the store is not made yet");
            false
        }
    }
}

/// Lets groups purge their logs when enough has come together.
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
