//! Stop of replicas within a time limit. A replica that hangs is logged and left running. Leaving a replica is safe,
//! because log and state are consistent at any moment. Waiting longer would not help: Kubernetes kills a pod at the end
//! of the grace period.

use std::{future::Future, sync::Arc, time::Duration};
use taffrail_raft::{group::Group, log::LogKey};
use tokio::time::Instant;

/// Time limit for the stop of a single replica while the node keeps running. Consensus has to finish at most the
/// current batch of entries. The limits for the stop of the whole node are in [`deadline`](super::deadline).
pub(super) const REPLICA_MAX: Duration = Duration::from_secs(3);

/// Stops a single replica within `REPLICA_MAX`.
///
/// # Errors
/// [`TimedOut`](std::io::ErrorKind::TimedOut): the replica may still write, so the caller must not touch the data
/// of the replica.
pub async fn replica(group: &Group) -> std::io::Result<()> {
    match within(Instant::now() + REPLICA_MAX, [(group.key(), group.stop())]).await.first() {
        None => Ok(()),
        Some(key) => {
            let why = format!("replica {} of group {} did not stop in {REPLICA_MAX:?}", key.replica, key.group);
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
        }
    }
}

/// Stops replicas concurrently. Logs and returns the replicas that did not stop until `until`.
pub async fn replicas(groups: &[Arc<Group>], until: Instant) -> Vec<LogKey> {
    let left = within(until, groups.iter().map(|g| (g.key(), g.stop()))).await;
    for key in &left {
        tracing::warn!(
            group = %key.group, replica = %key.replica,
            "a replica did not stop in time and is left running"
        );
    }
    left
}

async fn within<F: Future<Output = ()>>(until: Instant, stops: impl IntoIterator<Item = (LogKey, F)>) -> Vec<LogKey> {
    let stops = stops.into_iter().map(|(key, stop)| async move {
        // The stops run concurrently, so each replica has the whole time.
        tokio::time::timeout_at(until, stop).await.is_err().then_some(key)
    });
    futures::future::join_all(stops).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use taffrail_core::ids::{GroupId, ReplicaId};

    #[tokio::test]
    async fn a_replica_that_hangs_is_named_and_holds_up_nobody() {
        let key = |n| LogKey { group: GroupId::new(n), replica: ReplicaId::new(n) };
        let stops = [
            (key(1), std::future::ready(()).boxed()),
            (key(2), std::future::pending().boxed()),
            (key(3), std::future::ready(()).boxed()),
            (key(4), std::future::pending().boxed()),
        ];
        let left = within(Instant::now() + Duration::from_millis(10), stops);
        let left = tokio::time::timeout(REPLICA_MAX * 10, left).await.expect("the stop has a time limit");
        assert_eq!(left, [key(2), key(4)]);
    }
}
