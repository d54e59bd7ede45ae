//! Ends replicas within bounds. A part that hangs is named and left behind: the log
//! and the state are safe at any moment, and a pod that does not end is killed without a word.

use std::{future::Future, sync::Arc, time::Duration};
use taffrail_raft::{group::Group, log::LogKey};
use tokio::time::Instant;

/// How long consensus of one replica may take to end while the node goes on. It only has to finish what it is at, one batch
/// of entries at most. What a node that stops may take is in `deadline`.
const REPLICA_MAX: Duration = Duration::from_secs(3);

/// Stops one replica.
///
/// # Errors
/// `TimedOut`: it may still be at work, and nothing of it may be touched.
pub async fn replica(group: &Group) -> std::io::Result<()> {
    match within(Instant::now() + REPLICA_MAX, [(group.key(), group.stop())]).await.first() {
        None => Ok(()),
        Some(key) => {
            let why = format!("replica {} of group {} did not stop in {REPLICA_MAX:?}", key.replica, key.group);
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
        }
    }
}

/// Stops replicas at the same time; gives those that did not stop until then, which are logged.
pub async fn replicas(groups: &[Arc<Group>], until: Instant) -> Vec<LogKey> {
    let left = within(until, groups.iter().map(|g| (g.key(), g.stop()))).await;
    for key in &left {
        tracing::warn!(group = %key.group, replica = %key.replica, "a replica did not stop in time and is left behind");
    }
    left
}

async fn within<F: Future<Output = ()>>(until: Instant, stops: impl IntoIterator<Item = (LogKey, F)>) -> Vec<LogKey> {
    let stops = stops.into_iter().map(|(key, stop)| async move {
        // Each has the whole time: they run side by side.
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
        let left = tokio::time::timeout(REPLICA_MAX * 10, left).await.expect("it has a bound");
        assert_eq!(left, [key(2), key(4)]);
    }
}
