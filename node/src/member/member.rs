//! A node that knows its cluster and its id.

use super::{
    deadline::{Deadline, Phase},
    stop_replicas,
    timed_machine::Timed,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::{
    catalogue::{Catalogue, Registration},
    ids::{ClusterId, GroupId, NodeId, PartitionId, ReplicaId},
};
use taffrail_metrics::Metrics;
use taffrail_proto::admin::ClusterView;
use taffrail_raft::{
    group::{Group, Home},
    log::{FenceMark, LogKey, LogOp, ReplicaState, write_synced},
    peer::table::Table,
};
use taffrail_storage::{
    catalogue::catalogue_machine::CatalogueMachine,
    store::{replica::Replica, state_db::StateDb},
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A store replica that runs here.
#[derive(Clone)]
pub struct Running {
    /// Consensus.
    pub group: Arc<Group>,
    /// What the gateway uses.
    pub replica: Arc<Replica>,
    /// Where its rows are.
    pub partition: PartitionId,
    /// When it was started.
    pub since: Instant,
}

/// What a member is made of.
pub struct Parts {
    /// Who it is.
    pub registration: Registration,
    /// Log, transport, tuning, identity.
    pub home: Home,
    /// State of all groups.
    pub db: Arc<StateDb>,
    /// Proven connections.
    pub table: Table,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// See the module.
pub struct Member {
    /// What it is made of.
    pub parts: Parts,
    /// The system group's replica here.
    pub system: Arc<Group>,
    /// The applied catalogue.
    pub catalogue: watch::Receiver<Arc<Catalogue>>,
    running: Mutex<BTreeMap<GroupId, Running>>,
    deleted: Mutex<BTreeSet<(GroupId, ReplicaId)>>,
    fenced: Mutex<BTreeMap<LogKey, FenceMark>>,
    /// Whoever makes, fences or removes a replica here has it: no replica is made while it is being fenced.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// The coordinator's view while this node is it.
    pub view: watch::Sender<Option<Arc<ClusterView>>>,
    /// Asks the coordinator's loop here for another pass.
    pub look: Notify,
    /// Passes that the coordinator's loop here has begun, and the last one whose view is published.
    pub passes: watch::Sender<(u64, u64)>,
    /// Rises when anything that status shows may have changed.
    pub changes: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    /// Starts the system group's replica.
    ///
    /// # Errors
    /// When log and state do not fit together or the disk fails.
    pub async fn start(parts: Parts) -> io::Result<Arc<Self>> {
        let (published, catalogue) = watch::channel(Arc::new(Catalogue::default()));
        let machine = CatalogueMachine::open(Arc::clone(&parts.db), Arc::new(published)).map_err(io::Error::other)?;
        let key = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(parts.home.node.get()) };
        let (mut deleted, mut fenced) = (BTreeSet::new(), BTreeMap::new());
        let mut known = false;
        for (found, state) in parts.home.disk.replicas().await? {
            match state {
                ReplicaState::Deleted => drop(deleted.insert((found.group, found.replica))),
                ReplicaState::Fenced(mark) => drop(fenced.insert(found, mark)),
                ReplicaState::Live(_) => known |= found == key,
            }
        }
        if !known {
            write_synced(&*parts.home.disk, key, LogOp::Created(PartitionId::new(0))).await?;
        }
        let machine = Timed::new(machine, parts.metrics.apply_seconds.clone());
        let system = Group::start(&parts.home, key, Box::new(machine)).await?;
        Ok(Arc::new(Self {
            parts,
            system,
            catalogue,
            running: Mutex::default(),
            deleted: Mutex::new(deleted),
            fenced: Mutex::new(fenced),
            turn: Arc::default(),
            view: watch::channel(None).0,
            look: Notify::new(),
            passes: watch::channel((0, 0)).0,
            changes: watch::channel(0).0,
        }))
    }

    /// This node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.parts.home.node
    }
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.parts.home.cluster
    }
    /// The applied catalogue.
    #[must_use]
    pub fn applied(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.borrow())
    }
    /// The store replica of a group, if it runs here and may serve.
    #[must_use]
    pub fn running(&self, group: GroupId) -> Option<Running> {
        self.not_ended(group).filter(|r| self.fence_of(r.group.key()).is_none())
    }
    /// All store replicas that run here and may serve.
    #[must_use]
    pub fn all_running(&self) -> Vec<Running> {
        let mut all = self.all_not_ended();
        all.retain(|r| self.fence_of(r.group.key()).is_none());
        all
    }
    /// The store replica of a group whose tasks have not ended, also if it is fenced.
    pub(super) fn not_ended(&self, group: GroupId) -> Option<Running> {
        lock(&self.running).get(&group).cloned()
    }
    pub(super) fn all_not_ended(&self) -> Vec<Running> {
        lock(&self.running).values().cloned().collect()
    }
    /// Replicas that were removed from here for ever.
    #[must_use]
    pub fn deleted(&self) -> BTreeSet<(GroupId, ReplicaId)> {
        lock(&self.deleted).clone()
    }
    pub(super) fn insert(&self, running: Running) {
        lock(&self.running).insert(running.group.group(), running);
        self.changed();
    }
    pub(super) fn remove(&self, group: GroupId) -> Option<Running> {
        let removed = lock(&self.running).remove(&group);
        self.changed();
        removed
    }
    pub(super) fn remember_deleted(&self, key: LogKey) {
        lock(&self.deleted).insert((key.group, key.replica));
        lock(&self.fenced).remove(&key);
    }
    /// Replicas that never run again here, and whose data is still there.
    #[must_use]
    pub fn fenced(&self) -> BTreeMap<LogKey, FenceMark> {
        lock(&self.fenced).clone()
    }
    /// Why a replica never runs again here; none while it may.
    #[must_use]
    pub fn fence_of(&self, key: LogKey) -> Option<FenceMark> {
        lock(&self.fenced).get(&key).copied()
    }
    pub(super) fn remember_fenced(&self, key: LogKey, mark: FenceMark) {
        lock(&self.fenced).insert(key, mark);
        self.changed();
    }
    pub(super) fn is_deleted(&self, key: LogKey) -> bool {
        lock(&self.deleted).contains(&(key.group, key.replica))
    }

    /// Something that status shows may have changed.
    pub fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// The replica that a frame is meant for.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<Arc<Group>> {
        if group == GroupId::SYSTEM { Some(Arc::clone(&self.system)) } else { self.running(group).map(|r| r.group) }
    }

    /// Stops all replicas, the system group's last; their data stays. Gives those that did not stop in time.
    pub async fn stop_replicas(&self, deadline: Deadline) -> Vec<LogKey> {
        let running: Vec<Arc<Group>> = self.all_not_ended().into_iter().map(|r| r.group).collect();
        let mut left = stop_replicas::replicas(&running, deadline.of(Phase::Replicas)).await;
        left.extend(stop_replicas::replicas(std::slice::from_ref(&self.system), deadline.of(Phase::System)).await);
        left
    }

    /// Hands every leadership of this node to another voter.
    pub async fn hand_over(&self) {
        let mut groups: Vec<Arc<Group>> = self.all_running().into_iter().map(|r| r.group).collect();
        groups.push(Arc::clone(&self.system));
        for group in groups {
            group.hand_over().await;
        }
    }

    /// How many groups this node leads, the system group included.
    #[must_use]
    pub fn leaderships(&self) -> usize {
        self.all_running().iter().filter(|r| r.group.leads()).count() + usize::from(self.system.leads())
    }
}
