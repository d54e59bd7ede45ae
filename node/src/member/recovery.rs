//! [`Recovery`]: replicas of this node that failed to start or have stopped by themselves, the pauses between their starts,
//! and the refills in progress.

use super::stop_replicas;
use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_core::ids::GroupId;
use taffrail_raft::log::LogKey;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pause after the first failure. The pause doubles with each further failure, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause. A start reads the log of the replica, so a broken replica must not start often.
const PAUSE_MAX: Duration = Duration::from_secs(64);
/// Number of failures after which a replica is reported as broken. The pauses before add up to half a minute, longer than
/// the restart of a peer.
pub(super) const FAILURES_MAX: u32 = 5;
/// Running time after which the earlier failures of a replica are forgotten; longer than [`PAUSE_MAX`], so that a replica
/// that fails soon after each start is reported.
const SOUND_AFTER: Duration = Duration::from_secs(120);

/// A replica that has failed repeatedly and does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Group and replica id.
    pub key: LogKey,
    /// Number of failures since the replica last ran for two minutes.
    pub failures: u32,
    /// The last failure.
    pub why: String,
}

/// A refill in progress.
#[derive(Clone)]
struct Refill {
    /// Ends the task early.
    stop: CancellationToken,
    /// Cancelled at the end of the task.
    ended: CancellationToken,
}

/// Failures of a replica since the replica last ran without a failure for [`SOUND_AFTER`].
struct Trouble {
    failures: u32,
    why: String,
    /// Time of the next start.
    due: Instant,
    refill: Option<Refill>,
}

/// Failed replicas of a node, by group and replica id. A replica without a failure has no entry.
#[derive(Default)]
pub struct Recovery {
    replicas: Mutex<BTreeMap<LogKey, Trouble>>,
}

/// Returns the pause before the next start after `failures` failures.
fn pause(failures: u32) -> Duration {
    PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(PAUSE_MAX)
}

impl Recovery {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LogKey, Trouble>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true when the replica may start: the pause after the last failure is over, and no refill is in progress.
    pub(super) fn is_due(&self, key: LogKey) -> bool {
        self.lock().get(&key).is_none_or(|t| t.refill.is_none() && t.due <= Instant::now())
    }

    /// Records a failure and returns the pause before the next start.
    pub(super) fn failed(&self, key: LogKey, why: String) -> Duration {
        let mut replicas = self.lock();
        let trouble = replicas.entry(key).or_insert_with(Trouble::none);
        trouble.failures = trouble.failures.saturating_add(1);
        let pause = pause(trouble.failures);
        (trouble.why, trouble.due) = (why, Instant::now() + pause);
        pause
    }

    /// Forgets the failures of a replica that has been running since `since`, once the replica counts as sound.
    pub(super) fn runs(&self, key: LogKey, since: Instant) {
        if since.elapsed() >= SOUND_AFTER {
            self.forget(key);
        }
    }

    /// Forgets the failures of a replica. The caller has ended the refill of the replica.
    pub(super) fn forget(&self, key: LogKey) {
        self.lock().remove(&key);
    }

    /// Begins a refill, which ends with [`refill_ended`](Self::refill_ended). Returns the token that ends the task early, or
    /// `None` while another refill of the replica is in progress.
    pub(super) fn begin_refill(&self, key: LogKey, node: &CancellationToken) -> Option<CancellationToken> {
        let mut replicas = self.lock();
        let trouble = replicas.entry(key).or_insert_with(Trouble::none);
        if trouble.refill.is_some() {
            return None;
        }
        let refill = Refill { stop: node.child_token(), ended: CancellationToken::new() };
        trouble.refill = Some(refill.clone());
        Some(refill.stop)
    }

    /// Returns all replicas with a failure.
    pub(super) fn replicas(&self) -> Vec<LogKey> {
        self.lock().keys().copied().collect()
    }

    /// Returns the replicas of a group whose refills are in progress.
    pub(super) fn refilling(&self, group: GroupId) -> Vec<LogKey> {
        let replicas = self.lock();
        replicas.iter().filter(|(key, t)| key.group == group && t.refill.is_some()).map(|(key, _)| *key).collect()
    }

    /// Records the end of a refill. After a success the replica is due at once, and after a failure like after
    /// a failed start.
    pub(super) fn refill_ended(&self, key: LogKey, outcome: &io::Result<()>) {
        if let Some(trouble) = self.lock().get_mut(&key) {
            trouble.due = Instant::now();
            if let Some(refill) = trouble.refill.take() {
                refill.ended.cancel();
            }
        }
        if let Err(e) = outcome {
            self.failed(key, e.to_string());
        }
    }

    /// Ends the refill of a replica and waits until the task writes no more.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut): the task may still write, so the caller must not touch the data.
    pub(super) async fn end_refill(&self, key: LogKey) -> io::Result<()> {
        let refill = self.lock().get(&key).and_then(|t| t.refill.clone());
        let Some(Refill { stop, ended }) = refill else { return Ok(()) };
        stop.cancel();
        tokio::time::timeout(stop_replicas::REPLICA_MAX, ended.cancelled()).await.map_err(|_| {
            let why = format!("the refill of replica {} of group {} did not end in time", key.replica, key.group);
            io::Error::new(io::ErrorKind::TimedOut, why)
        })
    }

    /// Ends all refills; returns the replicas whose refills did not end until `until`.
    pub(super) async fn end_refills(&self, until: Instant) -> Vec<LogKey> {
        let running: Vec<(LogKey, Refill)> =
            self.lock().iter().filter_map(|(key, t)| Some((*key, t.refill.clone()?))).collect();
        running.iter().for_each(|(_, refill)| refill.stop.cancel());
        let mut left = Vec::new();
        for (key, refill) in running {
            if tokio::time::timeout_at(until, refill.ended.cancelled()).await.is_err() {
                left.push(key);
            }
        }
        left
    }

    /// Returns the replicas with `FAILURES_MAX` failures or more.
    #[must_use]
    pub fn broken(&self) -> Vec<Broken> {
        let replicas = self.lock();
        let broken = replicas.iter().filter(|(_, t)| t.failures >= FAILURES_MAX);
        broken.map(|(key, t)| Broken { key: *key, failures: t.failures, why: t.why.clone() }).collect()
    }
}

impl Trouble {
    fn none() -> Self {
        Self { failures: 0, why: String::new(), due: Instant::now(), refill: None }
    }
}

#[cfg(test)]
mod tests;
