//! [`Cluster`]: the state that all tasks of the environment share.

use super::{
    host::{DiskCopy, Host, Hosts},
    ledger::Ledger,
};
use crate::{invariants::Invariants, lock::lock, world::World};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use taffrail_core::ids::{NodeId, ReplicaId};
use taffrail_raft::types::LogId;

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
    lost: Mutex<BTreeSet<ReplicaId>>,
}

impl Cluster {
    /// A cluster without declared stores.
    #[must_use]
    pub fn new(world: Arc<World>, hosts: Hosts) -> Self {
        Self { world, hosts, ledger: Ledger::default(), damaged: Mutex::default(), lost: Mutex::default() }
    }

    /// Loses the disk of a node for good. The replicas of the disk never return.
    pub fn lose(&self, host: &Host, node: NodeId) {
        let system = ReplicaId::new(node.get());
        lock(&self.lost).extend(host.log_disk.kept().into_iter().chain([system]));
        host.lose_disk();
    }

    /// Lets the disk of a node go back to an earlier copy. Entries that were synced after the copy are lost.
    pub fn roll_back(&self, host: &Host, node: NodeId, copy: DiskCopy) {
        let system = ReplicaId::new(node.get());
        lock(&self.lost).extend(host.log_disk.kept().into_iter().chain([system]));
        host.restore_disk(copy);
    }

    /// True if an entry of a replica survives a crash of all nodes: on the log disk, or in the flushed state.
    #[must_use]
    pub fn is_durable(&self, invariants: &Invariants, replica: ReplicaId, id: LogId) -> bool {
        let next = invariants.persisted_next(replica);
        let holds = |host: &Arc<Host>| {
            host.log_disk.kept().contains(&replica) && (next > id.index || host.log_disk.has(replica, id))
        };
        self.is_lost(replica) || self.hosts.all().iter().any(holds)
    }

    /// True for a replica whose disk was lost. An entry on the lost disk counted when the entry was committed.
    #[must_use]
    pub fn is_lost(&self, replica: ReplicaId) -> bool {
        lock(&self.lost).contains(&replica)
    }
}
