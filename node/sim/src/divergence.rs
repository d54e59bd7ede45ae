//! Histories that differ: a replica of a store skips a command, so its events and digests differ from the other replicas of the
//! group. The coordinator must find the replica and fence it, or a catch-up must start over with all events.

use super::{host::Host, simulated::Cluster};
use crate::trace;
use std::sync::Arc;
use taffrail_core::{
    catalogue::{GroupPhase, ReplicaState, StoreState},
    ids::NodeId,
};
use taffrail_node::member::member::Running;
use taffrail_raft::log::LogKey;

/// Divergences per thousand after which the host is down for long, so that the replica returns by a catch-up.
const DOWN_PERMILLE: u64 = 850;
/// Milliseconds until a replica without a command is given up.
const PATIENCE_MS: u64 = 2_000;
/// Number of looks at the replica during [`PATIENCE_MS`].
const LOOKS: u64 = 100;

/// Lets a replica of a group on a host diverge, at most once per run.
pub fn begin(cluster: &Arc<Cluster>, host: NodeId) {
    let world = &cluster.world;
    if world.diverged.any() || cluster.is_endangered() {
        return;
    }
    let Some((host, key)) = choose(cluster, host) else { return };
    let cluster = Arc::clone(cluster);
    trace!(world, "replica {} of group {} on n{} is to diverge", key.replica, key.group, host.number);
    cluster.world.diverged.want(key);
    let world = Arc::clone(&cluster.world);
    world.spawn(async move { follow(&cluster, &host, key).await });
}

/// A follower on the host, of a group whose replicas all run and vote.
fn choose(cluster: &Cluster, host: NodeId) -> Option<(Arc<Host>, LogKey)> {
    let catalogue = cluster.hosts.coordinator()?.applied();
    let host = cluster.hosts.get(host)?;
    let member = host.member()?;
    let whole = |running: &Running| {
        let group = catalogue.groups.get(&running.group.key().group)?;
        let store = catalogue.stores.get(&group.store)?;
        let active = group.replicas.values().all(|r| r.state == ReplicaState::Active);
        let formed = group.phase == GroupPhase::Formed && store.state == StoreState::Active;
        let status = running.group.status();
        let voters = status.membership.voter_ids().count();
        (active && formed && voters >= 3 && voters == group.replicas.len() && !status.leads).then_some(())
    };
    let running = member.all_running().into_iter().find(|r| whole(r).is_some())?;
    Some((Arc::clone(host), running.group.key()))
}

/// Waits for the divergence, and often takes the host down while the group goes on.
async fn follow(cluster: &Cluster, host: &Arc<Host>, key: LogKey) {
    let world = &cluster.world;
    for _ in 0..LOOKS {
        if world.diverged.contains(key) {
            break;
        }
        world.pause(PATIENCE_MS / LOOKS, PATIENCE_MS / LOOKS + 1).await;
    }
    if world.diverged.cancel() || !world.chance(DOWN_PERMILLE) {
        return;
    }
    host.crash();
    world.pause(5_000, 12_000).await;
    host.start();
}
