//! The start barrier: a node becomes ready when every replica on the node whose group has a leader has applied the log
//! up to the commit index of the leader, or after five minutes. After the barrier, a lagging group never makes the
//! node unready again.

use super::member::Member;
use crate::member::readiness::Readiness;
use std::{sync::Arc, time::Duration};
use taffrail_core::catalogue::ReplicaState;
use taffrail_raft::log::LogKey;
use tokio::{sync::watch, time::Instant};

/// Time limit of the barrier.
const BARRIER_MAX: Duration = Duration::from_secs(5 * 60);
/// Time limit for a group to confirm a read index. A group without a leader does not delay the node.
const CONFIRM: Duration = Duration::from_secs(2);
/// Pause between two checks of all groups.
const AGAIN: Duration = Duration::from_millis(100);

/// Waits for the barrier and then publishes [`Readiness::Ready`]. Publishes the number of lagging groups meanwhile.
pub async fn barrier(member: Arc<Member>, readiness: Arc<watch::Sender<Readiness>>) {
    let end = Instant::now() + BARRIER_MAX;
    loop {
        let behind = behind(&member).await;
        if behind == 0 || Instant::now() >= end {
            break;
        }
        set(&readiness, Readiness::CatchingUp { groups: behind });
        tokio::select! {
            biased;
            () = member.parts.stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    set(&readiness, Readiness::Ready);
}

/// Publishes a readiness, unless the node is fenced or shutting down: both states are final.
fn set(readiness: &watch::Sender<Readiness>, to: Readiness) {
    readiness.send_if_modified(|now| {
        let keeps = matches!(now, Readiness::Fenced { .. } | Readiness::ShuttingDown) || *now == to;
        if !keeps {
            *now = to;
        }
        !keeps
    });
}

/// Counts the replicas on this node that are missing or lag behind the leader of their group.
async fn behind(member: &Arc<Member>) -> usize {
    let catalogue = member.applied();
    let here = member.node();
    let mut missing = 0;
    let mut checks = Vec::new();
    for (id, group) in &catalogue.groups {
        // A fenced replica never runs again, so the barrier does not wait for a fenced replica.
        let mine = group.replicas.iter().any(|(replica, r)| {
            let key = LogKey { group: *id, replica: *replica };
            r.node == here && r.state != ReplicaState::Leaving && member.fence_of(key).is_none()
        });
        match member.running(*id) {
            Some(running) => checks.push(running.group),
            None if mine => missing += 1,
            None => {}
        }
    }
    let confirmed = checks.iter().map(|group| async move {
        group.leader().is_none() || group.read_index(Instant::now() + CONFIRM).await.is_ok() || group.leader().is_none()
    });
    let confirmed = futures::future::join_all(confirmed).await;
    missing + confirmed.iter().filter(|ok| !**ok).count()
}
