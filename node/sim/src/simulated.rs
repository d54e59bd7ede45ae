//! [`Cluster`]: the state shared by all tasks of the environment.

use super::{
    host::{DiskCopy, Host, Hosts},
    ledger::Ledger,
};
use crate::{invariants::Invariants, lock::lock, world::World};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use taffrail_core::ids::{NodeId, ReplicaId};
use taffrail_raft::{log::LogKey, types::LogId};

/// World, hosts and ledger of a run.
pub struct Cluster {
    /// World of the run.
    pub world: Arc<World>,
    /// Hosts of the run.
    pub hosts: Hosts,
    /// Answers to clients.
    pub ledger: Ledger,
    /// Number of damaged blocks at the moment.
    pub damaged: Mutex<u64>,
    /// Fenced replicas whose removal a person has requested.
    pub freed: Mutex<BTreeSet<LogKey>>,
    lost: Mutex<BTreeSet<ReplicaId>>,
    /// True while the operator replaces a lost disk, or a disk that went back.
    losing: AtomicBool,
}

impl Cluster {
    /// A cluster without declared stores.
    #[must_use]
    pub fn new(world: Arc<World>, hosts: Hosts) -> Self {
        Self {
            world,
            hosts,
            ledger: Ledger::default(),
            damaged: Mutex::default(),
            freed: Mutex::default(),
            lost: Mutex::default(),
            losing: AtomicBool::new(false),
        }
    }

    /// Records whether the operator begins or ends the loss of a disk.
    pub fn set_losing(&self, losing: bool) {
        self.losing.store(losing, Ordering::Relaxed);
    }

    /// True while another loss could be one too many: a disk is lost and not replaced, a log is damaged, or a replica has or
    /// is about to get another state than the group.
    #[must_use]
    pub fn is_endangered(&self) -> bool {
        self.losing.load(Ordering::Relaxed)
            || self.world.diverged.is_active()
            || self.world.diverged.is_armed()
            || self.hosts.all().iter().any(|h| h.log_disk.damage.is_damaged())
    }

    /// Loses the disk of a node for good. The replicas of the disk never return.
    pub fn lose(&self, host: &Host, node: NodeId) {
        let system = ReplicaId::new(node.get());
        lock(&self.lost).extend(kept(host).chain([system]));
        host.lose_disk();
    }

    /// Lets the disk of a node go back to an earlier copy. Entries that were synced after the copy are lost.
    pub fn roll_back(&self, host: &Host, node: NodeId, copy: DiskCopy) {
        let system = ReplicaId::new(node.get());
        lock(&self.lost).extend(kept(host).chain([system]));
        host.restore_disk(copy);
    }

    /// Records the present groups of all stores. A store gets another group while its group cannot be formed.
    pub fn note_groups(&self) {
        for member in self.hosts.members() {
            let catalogue = member.applied();
            for record in self.ledger.all().values_mut() {
                let group = catalogue.stores.get(&record.id).map(|store| store.group);
                // A node may know an earlier catalogue; a later group has a higher id.
                record.group = record.group.max(group.unwrap_or_default());
            }
        }
    }

    /// True if an entry of a replica survives a crash of all nodes: on the log disk, or in the flushed state.
    #[must_use]
    pub fn is_durable(&self, invariants: &Invariants, replica: ReplicaId, id: LogId) -> bool {
        let next = invariants.persisted_next(replica);
        let holds = |host: &Arc<Host>| {
            kept(host).any(|kept| kept == replica) && (next > id.index || host.log_disk.has(replica, id))
        };
        self.is_lost(replica) || self.hosts.all().iter().any(holds)
    }

    /// True for a replica whose disk was lost. An entry on the lost disk counted when the entry was committed.
    #[must_use]
    pub fn is_lost(&self, replica: ReplicaId) -> bool {
        lock(&self.lost).contains(&replica)
    }
}

/// Replicas on the disk of a host, fenced replicas included.
fn kept(host: &Host) -> impl Iterator<Item = ReplicaId> + use<> {
    host.log_disk.kept_logs().into_iter().map(|key| key.replica)
}
