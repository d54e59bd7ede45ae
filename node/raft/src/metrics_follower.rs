//! What a replica learns from openraft's own view while it runs.

use super::{group::MetricsWatch, log::LogKey, network::CatchUpFrom};
use openraft::async_runtime::WatchReceiver;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use taffrail_core::ids::ReplicaId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a replica is stopped whose openraft ended without a word.
pub(super) const ENDED: &str = "consensus has ended by itself";

/// Follows openraft's view until it ends, which a panic of its task would otherwise hide. Whoever leads is asked for its
/// state: the one that began a catch-up may be gone for good, and the next leader sees no reason to begin another one while
/// it still has the log.
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
