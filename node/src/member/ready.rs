//! The start barrier: not ready before every group here that has a leader has applied up to that leader's commit index,
//! for five minutes at most. Once passed it never closes again for a group's sake.

use super::member::Member;
use std::{sync::Arc, time::Duration};
use taffrail_core::catalogue::ReplicaState;
use taffrail_http::Readiness;
use taffrail_raft::log::LogKey;
use tokio::{sync::watch, time::Instant};

const BARRIER_MAX: Duration = Duration::from_secs(5 * 60);
/// Time for one group to confirm; a group without a leader does not hold the node.
const CONFIRM: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(100);

/// Waits at the barrier, then says that the node is ready.
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

/// What is fenced or stopping stays so.
fn set(readiness: &watch::Sender<Readiness>, to: Readiness) {
    readiness.send_if_modified(|now| {
        let keeps = matches!(now, Readiness::Fenced { .. } | Readiness::ShuttingDown) || *now == to;
        if !keeps {
            *now = to;
        }
        !keeps
    });
}

async fn behind(member: &Arc<Member>) -> usize {
    let catalogue = member.applied();
    let here = member.node();
    let mut missing = 0;
    let mut checks = Vec::new();
    for (id, group) in &catalogue.groups {
        // A fenced one never comes: the others of its group do not need it, and neither does this barrier.
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
