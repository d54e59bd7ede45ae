//! Conditions of replicas, checked at moments known only to the environment:
//!
//! - A replica of a store is removed only after a membership without the replica is committed. Until then a new leader may
//!   restore the membership before, and need the data of the replica.
//! - A fenced replica of a store is removed only after a person has freed the replica.
//! - A replica that installs the state of another replica answers no read.
//!
//! The module also counts the store groups that another replica forms than the replica named by the catalogue.

use super::simulated::Cluster;
use crate::{
    invariants::{Invariants, Voters},
    lock::lock,
    world::{ReplicaCheck, ReplicaChecks},
};
use std::sync::Arc;
use taffrail_core::{
    catalogue::{GroupPhase, StoreState},
    ids::{GroupId, NodeId, ReplicaId},
};
use taffrail_raft::{log::LogKey, types::LogId};
use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReplica};

/// Events of a page that a replica must refuse.
const PAGE: PageBounds = PageBounds { events_max: 1, bytes_max: 1 << 10 };

/// Checks all replicas of the run.
pub fn begin(cluster: &Arc<Cluster>) {
    let check = |check: fn(&Cluster, LogKey, NodeId)| -> ReplicaCheck {
        let weak = Arc::downgrade(cluster);
        Box::new(move |key, host| {
            if let Some(cluster) = weak.upgrade() {
                check(&cluster, key, host);
            }
        })
    };
    let (removed, installing, first_entry) = (check(removed), check(installing), check(first_entry));
    cluster.world.check_replicas(ReplicaChecks { removed, installing, first_entry });
}

/// Reads from a replica during an install. A replica without a start has no reader.
fn installing(cluster: &Cluster, key: LogKey, host: NodeId) {
    let member = cluster.hosts.get(host).and_then(|h| h.member());
    let running = member.and_then(|m| m.running(key.group)).filter(|r| r.group.key() == key);
    match running.map(|r| r.replica.reader().read_all(None, Direction::Forward, PAGE)) {
        None => {}
        Some(Err(ReadError::NotServing(_))) => cluster.world.count("reads refused during an install"),
        Some(other) => {
            let LogKey { group, replica } = key;
            let answer = other.map(|page| page.events.len());
            cluster
                .world
                .fail(format!("replica {replica} of group {group} answers a read during an install: {answer:?}"));
        }
    }
}

/// Counts a group whose first membership is written by another replica than the initializer named by the catalogue. A replica
/// writes the first membership without a leader if no log of the group holds the entry yet.
fn first_entry(cluster: &Cluster, key: LogKey, host: NodeId) {
    let catalogue = cluster.hosts.get(host).and_then(|h| h.member()).map(|member| member.applied());
    let phase = catalogue.as_ref().and_then(|c| c.groups.get(&key.group)).map(|group| &group.phase);
    let Some(GroupPhase::Creating { initializer, .. }) = phase else { return };
    if *initializer != key.replica && !cluster.hosts.all().iter().any(|h| h.log_disk.has_first_entry(key.group)) {
        cluster.world.count("groups formed by another replica");
    }
}

fn removed(cluster: &Cluster, key: LogKey, host: NodeId) {
    if !is_retired(cluster, key, host) {
        return;
    }
    cluster.world.count("replicas retired");
    let fenced = cluster.hosts.get(host).and_then(|h| h.member()).is_some_and(|m| m.fence_of(key).is_some());
    if fenced && !lock(&cluster.freed).contains(&key) {
        let LogKey { group, replica } = key;
        cluster
            .world
            .fail(format!("n{host} removes the fenced replica {replica} of group {group}, which nobody has freed"));
    }
    let invariants = lock(&cluster.world.invariants);
    let applied = invariants.last_membership(key.group).map(|(index, voters)| (index, voters.clone()));
    let Some((index, voters)) = applied.filter(|(_, voters)| names(voters, key.replica)) else { return };
    let logs = cluster.hosts.all().iter().flat_map(|h| h.log_disk.memberships(key.group));
    let mut later = logs.filter(|(id, voters)| id.index > index && !names(voters, key.replica));
    let committed = later.any(|(id, voters)| is_committed(cluster, &invariants, id, &voters));
    drop(later);
    drop(invariants);
    if !committed {
        let LogKey { group, replica } = key;
        let why =
            format!("n{host} removes replica {replica} of group {group}, but the committed voters are {voters:?}");
        cluster.world.fail(why);
    }
}

/// True for a replica of a lasting group that the catalogue has retired. The replicas of a deleted store and of a group that was
/// never formed are removed without a change of the membership.
fn is_retired(cluster: &Cluster, key: LogKey, host: NodeId) -> bool {
    let Some(member) = cluster.hosts.get(host).and_then(|h| h.member()) else { return false };
    let catalogue = member.applied();
    let store = catalogue.groups.get(&key.group).and_then(|g| catalogue.stores.get(&g.store));
    key.group != GroupId::SYSTEM && store.is_some_and(|s| s.state == StoreState::Active)
}

fn names(voters: &Voters, replica: ReplicaId) -> bool {
    voters.iter().any(|set| set.contains(&replica.get()))
}

/// True if a membership entry is durable on a majority of each set of voters.
fn is_committed(cluster: &Cluster, invariants: &Invariants, id: LogId, voters: &Voters) -> bool {
    let durable = |replica: &&u64| cluster.is_durable(invariants, ReplicaId::new(**replica), id);
    voters.iter().all(|set| set.iter().filter(durable).count() * 2 > set.len())
}
