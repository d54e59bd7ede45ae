//! From a blank disk to a member, and what a returning disk must ask first. One place decides; states are types.
//!
//! blank --Bootstrap--> first member of a new cluster
//! blank --Join-------> knows its cluster --Register at any peer--> member
//! member at a start: its system replica runs at once (consensus is safe by replica ids), its store replicas only after
//! the system group has confirmed that the disk still is a member. Removed after a drain: the data is retired and the
//! node comes back as a new one. It never decides that alone: without an answer it waits, not ready.

use super::{
    deadline::Deadline,
    fence,
    member::{Member, Parts},
    peer_handler::{self, NodeHandler},
    ready, replicas,
};
use crate::{
    config::Config,
    coordinator,
    exit::{Code, disk_failed},
    identity::{Bootstrap, DataDir, Error as IdentityError},
};
use prost::Message;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Declaration, Kind, Registration},
    ids::{ClusterId, GroupId, NodeId, ReplicaId, StoreId},
    names::StoreName,
};
use taffrail_http::Readiness;
use taffrail_metrics::Metrics;
use taffrail_proto::peer::{FrameKind, Identity, RegisterRequest, RegisterResponse, register_response::Answer};
use taffrail_raft::{
    group::Home,
    log::LogDisk,
    peer::{CallError, Request, grpc::GrpcTransport, table::Table},
};
use taffrail_runtime as rt;
use taffrail_storage::store::state_db::StateDb;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// The node id of a cluster's first node.
const FIRST: NodeId = NodeId::new(1);
const ASK_AGAIN: Duration = Duration::from_millis(200);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What somebody tells a blank node.
pub enum Told {
    /// Make a new cluster.
    Bootstrap(ClusterId, oneshot::Sender<Result<NodeId, String>>),
    /// You belong to this cluster.
    Join(ClusterId, oneshot::Sender<Result<(), String>>),
}

/// What the process shares with the life of its node.
pub struct Shell {
    /// What it is told.
    pub config: Arc<Config>,
    /// Proven connections.
    pub table: Table,
    /// The way to peers.
    pub transport: GrpcTransport,
    /// What the transport says it is.
    pub own: watch::Sender<Option<(ClusterId, NodeId)>>,
    /// What the handshake says it is.
    pub identity: watch::Sender<Option<Identity>>,
    /// The member, once it is one.
    pub member: watch::Sender<Option<Arc<Member>>>,
    /// Whether it serves.
    pub readiness: Arc<watch::Sender<Readiness>>,
    /// Answers peers.
    pub handler: Arc<NodeHandler>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// State of all groups.
    pub db: Arc<StateDb>,
    /// Log of all groups.
    pub log: Arc<dyn LogDisk>,
    /// Ends it.
    pub stop: CancellationToken,
    /// What `Status` shows of the disk.
    pub disk: watch::Sender<DiskStatus>,
}

/// The disk, as `Status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// The cluster, once known.
    pub cluster: Option<ClusterId>,
    /// The disk.
    pub disk: Option<taffrail_core::ids::DiskId>,
    /// The node id, once allocated.
    pub node: Option<NodeId>,
    /// Names this process.
    pub incarnation: u64,
}

/// Why a life ends early.
#[derive(Debug)]
pub struct End {
    /// How the process is to end.
    pub code: Code,
    /// Its last words.
    pub why: String,
}

impl From<IdentityError> for End {
    fn from(e: IdentityError) -> Self {
        Self { code: Code::DataDir, why: e.to_string() }
    }
}

fn failed(e: impl std::fmt::Display) -> End {
    End { code: Code::Failed, why: e.to_string() }
}

/// What a life owns.
pub struct Life {
    shell: Shell,
    dir: DataDir,
    told: mpsc::Receiver<Told>,
    /// Stores that a node that is alone declares for itself.
    own_stores: Vec<String>,
}

impl Life {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(shell: Shell, dir: DataDir, told: mpsc::Receiver<Told>) -> Self {
        let own_stores = match &shell.config.discovery {
            crate::config::Discovery::Single => shell.config.default_store.clone().into_iter().collect(),
            crate::config::Discovery::Kubernetes { .. } | crate::config::Discovery::Static { .. } => Vec::new(),
        };
        Self { shell, dir, told, own_stores }
    }

    /// Lives until it is told to stop.
    ///
    /// # Errors
    /// When the process must end for another reason.
    pub async fn run(mut self) -> Result<(), End> {
        self.show();
        let stop = self.shell.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            end = self.live() => end,
        }
    }

    async fn live(&mut self) -> Result<(), End> {
        if self.dir.bootstrap() == Bootstrap::Begun {
            let cluster = self.dir.cluster().ok_or_else(|| failed("the marker names no cluster"))?;
            self.bootstrap(cluster).await?;
        }
        if self.dir.cluster().is_none() {
            self.wait_for_cluster().await?;
        }
        if self.dir.node().is_none() {
            self.join().await?;
        }
        self.be_member().await
    }

    fn show(&self) {
        let shell = &self.shell;
        shell.disk.send_replace(DiskStatus {
            cluster: self.dir.cluster(),
            disk: Some(self.dir.disk()),
            node: self.dir.node(),
            incarnation: self.dir.nonces().last().copied().unwrap_or(0),
        });
        if let Some(node) = self.dir.node() {
            tracing::Span::current().record("node", node.get());
        }
        let Some(cluster) = self.dir.cluster() else { return };
        let version = env!("CARGO_PKG_VERSION");
        let (name, address) = (&shell.config.name, &shell.config.advertise);
        let identity = peer_handler::identity(
            cluster,
            self.dir.disk(),
            self.dir.node(),
            name,
            address,
            self.dir.nonces(),
            version,
        );
        shell.own.send_replace(Some((cluster, self.dir.node().unwrap_or_default())));
        shell.identity.send_replace(Some(identity));
    }

    fn registration(&self) -> Registration {
        Registration {
            disk: self.dir.disk(),
            name: self.shell.config.name.clone(),
            address: self.shell.config.advertise.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    async fn wait_for_cluster(&mut self) -> Result<(), End> {
        if self.shell.config.discovery == crate::config::Discovery::Single {
            return self.bootstrap(ClusterId::new(rt::new_uuid())).await;
        }
        self.shell.readiness.send_replace(Readiness::WaitingForCluster);
        match self.told.recv().await {
            Some(Told::Bootstrap(cluster, answer)) => {
                let done = self.bootstrap(cluster).await;
                // a caller that gave up asks again and finds it done
                drop(answer.send(done.as_ref().map(|()| FIRST).map_err(|e| e.why.clone())));
                done
            }
            Some(Told::Join(cluster, answer)) => {
                let done = self.dir.set_cluster(cluster);
                drop(answer.send(done.as_ref().copied().map_err(ToString::to_string)));
                done?;
                self.show();
                Ok(())
            }
            None => Err(failed("the admin service has ended")),
        }
    }

    /// Makes the cluster: marker first, then the group of one, then the first command. Each step may be met half done.
    async fn bootstrap(&mut self, cluster: ClusterId) -> Result<(), End> {
        self.dir.begin_bootstrap(cluster, FIRST)?;
        self.show();
        let member = self.start_system().await?;
        let first: BTreeMap<ReplicaId, NodeId> = [(ReplicaId::new(FIRST.get()), FIRST)].into();
        member.system.initialize(&first).await.map_err(failed)?;
        let init = Kind::Init { cluster, first: self.registration() };
        loop {
            match member.propose(init.clone(), Instant::now() + ASK_TIMEOUT).await {
                Ok(CatalogueOutcome::Node(node)) if node == FIRST => break,
                Ok(other) => return Err(failed(format!("the first command was answered {other:?}"))),
                Err(error) => tracing::warn!(%error, "the first command is proposed again"),
            }
        }
        self.dir.end_bootstrap()?;
        Ok(())
    }

    /// Asks any peer for a node id until one answers.
    async fn join(&mut self) -> Result<(), End> {
        self.shell.readiness.send_replace(Readiness::Joining);
        loop {
            match self.ask().await {
                Ok(response) if response.answer() == Answer::Member => {
                    self.dir.set_node(NodeId::new(response.node_id))?;
                    self.show();
                    return Ok(());
                }
                Ok(response) => return Err(failed(format!("a blank disk was answered {:?}", response.answer()))),
                Err(error) => tracing::debug!(%error, "no node id yet"),
            }
            tokio::time::sleep(ASK_AGAIN + rt::jitter(ASK_AGAIN)).await;
        }
    }

    async fn ask(&self) -> Result<RegisterResponse, CallError> {
        let r = self.registration();
        let register = RegisterRequest {
            disk_id: r.disk.to_bytes().to_vec().into(),
            name: r.name,
            address: r.address,
            version: r.version,
        };
        let request = Request {
            kind: FrameKind::Register,
            group: GroupId::SYSTEM,
            from_replica: ReplicaId::default(),
            to_replica: ReplicaId::default(),
            payload: register.encode_to_vec().into(),
        };
        let answer = self.shell.transport.ask_any(request, ASK_TIMEOUT).await?;
        RegisterResponse::decode(answer).map_err(|e| CallError::NoAnswer(e.to_string()))
    }

    async fn start_system(&mut self) -> Result<Arc<Member>, End> {
        if let Some(member) = self.shell.member.borrow().clone() {
            return Ok(member);
        }
        let shell = &self.shell;
        let cluster = self.dir.cluster().ok_or_else(|| failed("the marker names no cluster"))?;
        let node = self.dir.node().ok_or_else(|| failed("the marker names no node"))?;
        let parts = Parts {
            registration: self.registration(),
            home: Home {
                cluster,
                node,
                disk: Arc::clone(&shell.log),
                transport: Arc::new(shell.transport.clone()),
                tuning: shell.config.raft.clone(),
                on_fatal: Arc::new(|e| disk_failed(e)),
            },
            db: Arc::clone(&shell.db),
            table: shell.table.clone(),
            metrics: Arc::clone(&shell.metrics),
            stop: shell.stop.clone(),
        };
        let member = Member::start(parts).await.map_err(failed)?;
        fence::say_all(&member);
        shell.member.send_replace(Some(Arc::clone(&member)));
        rt::spawn(coordinator::run(Arc::clone(&member)));
        Ok(member)
    }

    /// Waits for the system group's word that this disk is a member, then serves.
    async fn be_member(&mut self) -> Result<(), End> {
        let member = self.start_system().await?;
        loop {
            match self.confirm(&member).await {
                Some(Answer::Member) => break,
                Some(Answer::Drained | Answer::ForcedWhole) => return self.retire(&member).await,
                Some(Answer::Forced) => {
                    let reason =
                        "this disk was removed by force; it waits until its groups are whole elsewhere".to_owned();
                    self.shell.readiness.send_replace(Readiness::Fenced { reason });
                }
                Some(Answer::Unspecified) | None => {}
            }
            tokio::time::sleep(ASK_AGAIN + rt::jitter(ASK_AGAIN)).await;
        }
        // What is applied here may be older than what this disk has seen: state is flushed rarely. Nothing is removed on the
        // word of a catalogue that a majority has not confirmed to be current.
        while member.system.read_index(Instant::now() + ASK_TIMEOUT).await.is_err() {
            tokio::time::sleep(ASK_AGAIN + rt::jitter(ASK_AGAIN)).await;
        }
        replicas::reconcile(&member, &member.applied()).await;
        if let Err(error) = replicas::remove_unnamed(&member).await {
            tracing::warn!(%error, "replicas that are no longer named could not be removed");
        }
        rt::spawn(replicas::follow(Arc::clone(&member)));
        rt::spawn(purge(Arc::clone(&member)));
        // A node that is alone is ready once its store is there.
        self.declare_own(&member).await;
        rt::spawn(ready::barrier(Arc::clone(&member), Arc::clone(&self.shell.readiness)));
        self.watch_membership(&member).await
    }

    /// The answer of the system group, here or at any peer; none: nobody could say.
    async fn confirm(&self, member: &Arc<Member>) -> Option<Answer> {
        if self.shell.readiness.borrow().clone() == Readiness::Starting {
            self.shell.readiness.send_replace(Readiness::Joining);
        }
        if member.system.leads() {
            let kind = Kind::Register(self.registration());
            return match member.propose_here(kind, Instant::now() + ASK_TIMEOUT).await {
                Ok(CatalogueOutcome::Node(node)) if node == member.node() => Some(Answer::Member),
                Ok(CatalogueOutcome::NodeRemoved { forced, .. }) => {
                    Some(if forced { Answer::ForcedWhole } else { Answer::Drained })
                }
                Ok(_) | Err(_) => None,
            };
        }
        let response = self.ask().await.ok()?;
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
        let mut every = tokio::time::interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                biased;
                _ = every.tick() => {}
                told = self.told.recv() => {
                    self.answer_member(told);
                    continue;
                }
            }
            if member.system.leads() {
                continue;
            }
            // A drained node hears of its end from its peers: the group that told it so has left it behind.
            if let Ok(response) = self.ask().await
                && matches!(response.answer(), Answer::Drained | Answer::ForcedWhole)
            {
                return self.retire(member).await;
            }
        }
    }

    fn answer_member(&self, told: Option<Told>) {
        let cluster = self.dir.cluster();
        let refusal =
            || format!("this node belongs to cluster {} already", cluster.map_or_else(String::new, |c| c.to_string()));
        match told {
            Some(Told::Bootstrap(wanted, answer)) => {
                let same = cluster == Some(wanted) && self.dir.bootstrap() == Bootstrap::Done;
                drop(answer.send(if same { Ok(FIRST) } else { Err(refusal()) }));
            }
            Some(Told::Join(wanted, answer)) => {
                drop(answer.send(if cluster == Some(wanted) { Ok(()) } else { Err(refusal()) }));
            }
            None => {}
        }
    }

    async fn retire(&mut self, member: &Arc<Member>) -> Result<(), End> {
        self.shell.handler.fence("this disk was removed from the cluster; its data is retired");
        self.shell.readiness.send_replace(Readiness::Fenced { reason: "removed from the cluster".into() });
        if !member.stop_replicas(Deadline::after(self.shell.config.grace)).await.is_empty() {
            // Its data is not moved under a replica that may still write; the next start is told the same and moves it.
            return Err(failed(
                "this disk was removed from the cluster, and a replica did not stop; the next start retires it",
            ));
        }
        // The databases are still open, but nothing writes to them any more and the process ends right after.
        self.dir.retire(rt::new_uuid())?;
        Err(End {
            code: Code::Retired,
            why: "this disk was removed from the cluster; it starts again as a new node".into(),
        })
    }

    /// A node that is alone declares its store itself; in a cluster the operator does.
    async fn declare_own(&self, member: &Arc<Member>) {
        for name in &self.own_stores {
            let Ok(name) = StoreName::new(&self.shell.config.namespace, name) else { continue };
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
                    () = self.shell.stop.cancelled() => return,
                    () = tokio::time::sleep(ASK_AGAIN + rt::jitter(ASK_AGAIN)) => {}
                }
            }
        }
    }
}

/// Whether a store is there now; what the catalogue refuses is not tried again.
async fn declared(member: &Arc<Member>, declaration: &Declaration) -> bool {
    let store = &declaration.name;
    match member.propose(Kind::Declare(declaration.clone()), Instant::now() + ASK_TIMEOUT).await {
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
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
