//! Deadline of the stop of a node. All phases of the stop share the rest of `shutdown.grace`. Kubernetes kills a
//! pod that still runs at the end of the grace period, so even if every phase hangs, all phases together must end
//! by the deadline.

use std::time::Duration;
use tokio::time::Instant;

/// Phases of a stop, in order. The node also keeps accepting calls for `shutdown.drain_delay` before [`Phase::Calls`].
/// The drain delay is a promise to clients and never shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Transfer of leaderships to other voters.
    HandOver,
    /// End of the calls in flight; the node accepts no new calls.
    Calls,
    /// End of the links to peers, the peer port and the other servers.
    Servers,
    /// End of consensus of the stores. Consensus has to finish at most the current batch of entries.
    Replicas,
    /// End of consensus of the system group.
    System,
    /// Flush of the state database. Without the flush, the next start applies more of the log.
    Flush,
    /// End of the log writer. All acknowledged entries are synced before this phase.
    Log,
    /// End of the remaining tasks and blocking work of the process.
    Exit,
}

impl Phase {
    const ALL: [Self; 8] =
        [Self::HandOver, Self::Calls, Self::Servers, Self::Replicas, Self::System, Self::Flush, Self::Log, Self::Exit];

    /// Returns the time limit of the phase when enough time is left for all phases.
    const fn most(self) -> Duration {
        Duration::from_secs(match self {
            Self::Calls => 10,
            Self::Flush => 5,
            Self::Replicas => 3,
            Self::HandOver | Self::Servers | Self::System => 2,
            Self::Log | Self::Exit => 1,
        })
    }
}

/// The end of the grace period of a stop.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Creates the deadline of a stop that begins now.
    #[must_use]
    pub fn after(grace: Duration) -> Self {
        Self(Instant::now() + grace)
    }

    /// Returns the end of a phase that begins now. If the time left is shorter than the limits of this phase and
    /// all later phases together, all limits are shortened by the same factor, so a phase that hangs leaves time
    /// for the later phases.
    #[must_use]
    pub fn of(self, phase: Phase) -> Instant {
        let now = Instant::now();
        let left = self.0.saturating_duration_since(now);
        let needed: Duration = Phase::ALL.into_iter().filter(|p| *p >= phase).map(Phase::most).sum();
        let most = phase.most();
        now + if left >= needed { most } else { left.mul_f64(most.as_secs_f64() / needed.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a stop in which every phase hangs, with a drain delay of `drain`. Returns the time taken
    /// by each phase.
    async fn all_hang(grace: Duration, drain: Duration) -> Vec<Duration> {
        let (begun, deadline) = (Instant::now(), Deadline::after(grace));
        let mut took = Vec::new();
        for phase in Phase::ALL {
            let part = deadline.of(phase).duration_since(Instant::now());
            tokio::time::advance(part).await;
            took.push(part);
            if phase == Phase::HandOver {
                // The node accepts calls until the drain delay is over.
                tokio::time::advance(drain.saturating_sub(part)).await;
            }
        }
        assert!(begun.elapsed() <= grace, "{took:?} after {drain:?} of {grace:?}");
        took
    }

    #[tokio::test(start_paused = true)]
    async fn phases_that_all_hang_end_by_the_deadline_and_leave_each_other_their_part() {
        // In proportion to the shortest grace period that the schema of a Cluster allows, and values set by hand.
        for (grace, drain) in [(15_000, 5_000), (10_000, 0), (30_000, 20_000), (1_000, 0), (20, 10), (1, 0)] {
            let took = all_hang(Duration::from_millis(grace), Duration::from_millis(drain)).await;
            assert!(took.iter().all(|part| !part.is_zero()), "{took:?} after {drain} of {grace} ms");
            let (calls, flush) = (took[Phase::Calls as usize], took[Phase::Flush as usize]);
            assert!(calls <= flush * 2 + Duration::from_millis(1), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_time_each_phase_has_all_of_its_own() {
        let took = all_hang(Duration::from_secs(110), Duration::from_secs(5)).await;
        assert_eq!(took, Phase::ALL.map(Phase::most));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_after_the_deadline() {
        let deadline = Deadline::after(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(Phase::ALL.into_iter().all(|phase| deadline.of(phase) == Instant::now()));
    }
}
