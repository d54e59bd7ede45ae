//! The person who frees the fenced replicas of a run, each some time after the replica has left its group. Until then, the
//! data must stay.

use super::{admin::any, host::Host, simulated::Cluster};
use crate::{lock::lock, trace};
use std::sync::Arc;
use taffrail_core::catalogue::{ReplicaState, StoreState};
use taffrail_raft::log::LogKey;
use tonic::Code;

/// Milliseconds between two looks at the fenced replicas.
const LOOK_MS: u64 = 500;
/// Highest number of milliseconds for which the person leaves a fenced replica alone.
const PATIENCE_MS: u64 = 4_000;

/// Frees fenced replicas until the task is aborted.
pub async fn run(cluster: Arc<Cluster>) {
    let world = &cluster.world;
    loop {
        tokio::time::sleep(world.ms(LOOK_MS)).await;
        let Some((host, key)) = left(&cluster) else { continue };
        world.pause(0, PATIENCE_MS).await;
        if !is_kept(&cluster, &host, key) {
            continue;
        }
        trace!(world, "free replica {} of group {} on n{}", key.replica, key.group, host.number);
        lock(&cluster.freed).insert(key);
        match any(&cluster).free(key).await {
            Ok(()) => world.count("freed replicas"),
            Err(e) => {
                trace!(world, "replica {} is not freed: {}", key.replica, e.message());
                // After any other failure, the node may have the request.
                if matches!(e.code(), Code::FailedPrecondition | Code::NotFound) {
                    lock(&cluster.freed).remove(&key);
                }
            }
        }
    }
}

/// A fenced replica that has left its group, with the host of its data.
fn left(cluster: &Cluster) -> Option<(Arc<Host>, LogKey)> {
    let on = |host: &Arc<Host>| {
        let fenced = host.member()?.fenced().into_keys();
        let mut left = fenced.filter(|key| state(cluster, *key) == Some(ReplicaState::Leaving));
        left.next().map(|key| (Arc::clone(host), key))
    };
    cluster.hosts.all().iter().find_map(on)
}

/// State of a replica of an existing store; `None` without a coordinator or without the replica.
fn state(cluster: &Cluster, key: LogKey) -> Option<ReplicaState> {
    let catalogue = cluster.hosts.coordinator()?.applied();
    let group = catalogue.groups.get(&key.group)?;
    let store = catalogue.stores.get(&group.store)?;
    let replica = group.replicas.get(&key.replica)?;
    (store.state == StoreState::Active).then_some(replica.state)
}

/// True if the host still has the data of the fenced replica.
fn is_kept(cluster: &Cluster, host: &Host, key: LogKey) -> bool {
    state(cluster, key).is_some() && host.log_disk.kept_logs().contains(&key)
}
