//! A member: a node with a cluster and a node id. [`Member`] holds the system replica and the store replicas
//! of the node.

use super::{
    clock_watch::ClockWatch,
    deadline::{Deadline, Phase},
    recovery::Recovery,
    removal,
    sent_reports::SentReports,
    stop_replicas,
    timed_machine::WrapMachine,
};
use crate::{config::FinalizeUpgrade, disk_space::DiskSpace};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_core::{
    catalogue::{Catalogue, Group as GroupRecord, Registration},
    ids::{ClusterId, GroupId, NodeId, PartitionId, ReplicaId},
};
use taffrail_proto::admin::ClusterView;
use taffrail_raft::{
    group::{Group, Home},
    log::{FenceMark, LogKey, LogOp, ReplicaState, write_synced},
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

/// A store replica on this node that was started and has not been stopped.
#[derive(Clone)]
pub struct Running {
    /// Consensus of the replica.
    pub group: Arc<Group>,
    /// Appends and reads of the replica, for the gateway.
    pub replica: Arc<Replica>,
    /// Partition of the state database that holds the rows of the replica.
    pub partition: PartitionId,
    /// Time of the start of the replica.
    pub since: Instant,
}

/// Dependencies of a [`Member`].
pub struct Parts {
    /// Registration of this disk: disk id, name, address and version.
    pub registration: Registration,
    /// Cluster, node id, log, transport and tuning of all groups on this node.
    pub home: Home,
    /// State database of all groups.
    pub db: Arc<StateDb>,
    /// Room on the disk.
    pub space: Arc<DiskSpace>,
    /// Time at which the coordinator on this node finishes an upgrade.
    pub finalize_upgrade: FinalizeUpgrade,
    /// Wraps the state machine of each replica.
    pub wrap: WrapMachine,
    /// Cancelled when the member must stop: with the node, or before the data of a removed disk is retired.
    pub stop: CancellationToken,
}

/// A running member. The replica of the system group starts with the member; [`replicas`](super::replicas) adds and
/// removes store replicas.
pub struct Member {
    /// Dependencies of the member.
    pub parts: Parts,
    /// The replica of the system group on this node.
    pub system: Arc<Group>,
    /// The catalogue as applied by the system replica of this node.
    pub catalogue: watch::Receiver<Arc<Catalogue>>,
    running: Mutex<BTreeMap<GroupId, Running>>,
    deleted: Mutex<BTreeSet<(GroupId, ReplicaId)>>,
    fenced: Mutex<BTreeMap<LogKey, FenceMark>>,
    /// The report last sent to a coordinator.
    pub(super) sent_reports: SentReports,
    /// Replicas on this node that failed to start or stopped by themselves.
    pub recovery: Recovery,
    /// Held while a replica on this node is created, fenced or removed. The lock prevents the creation of a replica
    /// during the fence of the same replica.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// The view of the coordinator; `None` while this node does not coordinate.
    pub view: watch::Sender<Option<Arc<ClusterView>>>,
    /// Wakes the coordinator on this node for another pass.
    pub look: Notify,
    /// Number of passes begun by the coordinator on this node, and the number of the last pass whose view is published.
    pub passes: watch::Sender<(u64, u64)>,
    /// Clocks of the nodes, as compared by the coordinator on this node.
    pub clocks: ClockWatch,
    /// Change counter of the status: rises when the status may have changed.
    pub changes: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Member {
    /// Reads the states of all replicas on this disk and starts the replica of the system group.
    ///
    /// # Errors
    /// The log and the state of the system group contradict each other, or the disk fails.
    pub async fn start(parts: Parts) -> io::Result<Arc<Self>> {
        let (published, catalogue) = watch::channel(Arc::new(Catalogue::default()));
        let machine = CatalogueMachine::open(Arc::clone(&parts.db), Arc::new(published)).map_err(io::Error::other)?;
        let key = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(parts.home.node.get()) };
        let (mut deleted, mut fenced) = (BTreeSet::new(), BTreeMap::new());
        let mut known = false;
        removal::complete(&*parts.home.disk, &parts.db).await?;
        for (found, state) in parts.home.disk.replicas().await? {
            match state {
                ReplicaState::Deleted(_) => drop(deleted.insert((found.group, found.replica))),
                ReplicaState::Fenced(mark) => drop(fenced.insert(found, mark)),
                ReplicaState::Live(_) => known |= found == key,
            }
        }
        if !known {
            write_synced(&*parts.home.disk, key, LogOp::Created(PartitionId::new(0))).await?;
        }
        let machine = (parts.wrap)(key, Box::new(machine));
        let system = Group::start(&parts.home, key, machine).await?;
        Ok(Arc::new(Self {
            parts,
            system,
            catalogue,
            running: Mutex::default(),
            deleted: Mutex::new(deleted),
            fenced: Mutex::new(fenced),
            sent_reports: SentReports::default(),
            recovery: Recovery::default(),
            turn: Arc::default(),
            view: watch::channel(None).0,
            look: Notify::new(),
            passes: watch::channel((0, 0)).0,
            clocks: ClockWatch::default(),
            changes: watch::channel(0).0,
        }))
    }

    /// Returns the node id of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.parts.home.node
    }
    /// Returns the id of the cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.parts.home.cluster
    }
    /// Returns the catalogue as applied by the system replica of this node. The catalogue may lag
    /// behind the coordinator.
    #[must_use]
    pub fn applied(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.borrow())
    }
    /// Returns the store replica of `group` on this node, if the replica runs and is not fenced.
    #[must_use]
    pub fn running(&self, group: GroupId) -> Option<Running> {
        self.not_ended(group).filter(|r| self.fence_of(r.group.key()).is_none())
    }
    /// Returns all store replicas on this node that run and are not fenced.
    #[must_use]
    pub fn all_running(&self) -> Vec<Running> {
        let mut all = self.all_not_ended();
        all.retain(|r| self.fence_of(r.group.key()).is_none());
        all
    }
    /// Returns the store replica of `group` whose tasks have not ended, also if the replica is fenced.
    pub(super) fn not_ended(&self, group: GroupId) -> Option<Running> {
        lock(&self.running).get(&group).cloned()
    }
    pub(super) fn all_not_ended(&self) -> Vec<Running> {
        lock(&self.running).values().cloned().collect()
    }
    /// Returns the removed replicas of this disk that `catalogue` still names. The disk keeps the tombstones of all
    /// replicas ever removed, because a removed replica is never created again.
    #[must_use]
    pub fn deleted_of(&self, catalogue: &Catalogue) -> Vec<(GroupId, ReplicaId)> {
        let deleted = lock(&self.deleted);
        let of_group = |(id, group): (&GroupId, &GroupRecord)| {
            let here = group.replicas.iter().filter(|(_, r)| r.node == self.node());
            here.map(|(replica, _)| (*id, *replica)).filter(|key| deleted.contains(key)).collect::<Vec<_>>()
        };
        catalogue.groups.iter().flat_map(of_group).collect()
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
    /// Returns the fenced replicas whose data is still on this disk, with the evidence of each fence.
    #[must_use]
    pub fn fenced(&self) -> BTreeMap<LogKey, FenceMark> {
        lock(&self.fenced).clone()
    }
    /// Returns the evidence of the fence of a replica; `None` for a replica without a fence.
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

    /// Wakes all watchers of the status, because the status may have changed.
    pub fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Returns consensus of the running replica of `group`, the system group included.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<Arc<Group>> {
        if group == GroupId::SYSTEM { Some(Arc::clone(&self.system)) } else { self.running(group).map(|r| r.group) }
    }

    /// Stops all replicas, the system replica last; the data stays. Returns the replicas that did not stop in time.
    pub async fn stop_replicas(&self, deadline: Deadline) -> Vec<LogKey> {
        let running: Vec<Arc<Group>> = self.all_not_ended().into_iter().map(|r| r.group).collect();
        let until = deadline.of(Phase::Replicas);
        let mut left = stop_replicas::replicas(&running, until).await;
        left.extend(self.recovery.end_refills(until).await);
        left.extend(stop_replicas::replicas(std::slice::from_ref(&self.system), deadline.of(Phase::System)).await);
        left
    }

    /// Transfers every leadership of this node to another voter, the system group last.
    pub async fn hand_over(&self) {
        let mut groups: Vec<Arc<Group>> = self.all_running().into_iter().map(|r| r.group).collect();
        groups.push(Arc::clone(&self.system));
        for group in groups {
            group.hand_over().await;
        }
    }

    /// Returns the number of groups led by this node, the system group included.
    #[must_use]
    pub fn leaderships(&self) -> usize {
        self.all_running().iter().filter(|r| r.group.leads()).count() + usize::from(self.system.leads())
    }
}
