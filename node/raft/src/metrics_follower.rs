//! [`MetricsWatch`]: openraft's metrics of a replica, and the task that follows the metrics while the replica runs.

use super::{log::LogKey, snapshot_fetch::CatchUpFrom, types::TypeConfig};
use openraft::{RaftMetrics, alias::WatchReceiverOf, async_runtime::WatchReceiver};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use taffrail_core::ids::ReplicaId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Reason for the stop of a replica whose openraft task, or another task, ended without an error.
pub(super) const ENDED: &str = "a task of the replica has ended by itself";

/// Receiver of changes of a replica's metrics; made by [`Group::watch`](crate::group::Group::watch).
pub struct MetricsWatch(pub(super) WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>);

/// Follows the metrics until the channel closes, and then sets `ended`: otherwise a panic of openraft's task
/// would stay hidden.
///
/// The current leader becomes the `source` of a catch-up. The leader behind the catch-up may be gone for good, and a
/// new leader begins no catch-up while the new leader's log still holds the missing entries.
pub(super) async fn follow(
    mut metrics: MetricsWatch,
    source: watch::Sender<Option<CatchUpFrom>>,
    own: LogKey,
    stop: CancellationToken,
    ended: Arc<AtomicBool>,
) {
    loop {
        let leader = {
            let seen = metrics.0.borrow_watched();
            let other = seen.current_leader.filter(|id| *id != own.replica.get());
            other.and_then(|id| {
                let host = seen.membership_config.membership().get_node(&id)?;
                Some(CatchUpFrom { node: host.0, replica: ReplicaId::new(id) })
            })
        };
        if leader.is_some() {
            source.send_replace(leader);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = metrics.0.changed() => if changed.is_err() {
                ended.store(true, Ordering::Relaxed);
                return;
            },
        }
    }
}
