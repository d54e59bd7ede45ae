//! One deadline for a whole stop. Its phases share what is left of `shutdown.grace`: a pod that has not ended when its
//! grace period is over is killed without a word, so no number of phases that hang may take longer together.

use std::time::Duration;
use tokio::time::Instant;

/// What a stop does after it was asked for, in order. Before the calls end there is also `shutdown.drain_delay`, which is a
/// promise to clients and never cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Leaderships go to other voters.
    HandOver,
    /// Calls under way end; nothing new is accepted.
    Calls,
    /// Links, the peer port and the other servers end.
    Servers,
    /// Consensus of the stores ends. It only has to finish what it is at, one batch of entries at most.
    Replicas,
    /// Consensus of the system group ends.
    System,
    /// State is flushed; without it the next start applies more of the log.
    Flush,
    /// The log writer ends; everything acknowledged is synced already.
    Log,
    /// Tasks and blocking work end.
    Exit,
}

impl Phase {
    const ALL: [Self; 8] =
        [Self::HandOver, Self::Calls, Self::Servers, Self::Replicas, Self::System, Self::Flush, Self::Log, Self::Exit];

    /// How long it may take where there is time enough.
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

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// From now on.
    #[must_use]
    pub fn after(grace: Duration) -> Self {
        Self(Instant::now() + grace)
    }

    /// Until when a phase that begins now may last. Where less is left than all phases from here on may take, each is cut
    /// by the same factor: one that hangs leaves the others their part.
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

    /// How long each phase takes if all of them hang, begun after `drain` of `grace`.
    async fn all_hang(grace: Duration, drain: Duration) -> Vec<Duration> {
        let (begun, deadline) = (Instant::now(), Deadline::after(grace));
        let mut took = Vec::new();
        for phase in Phase::ALL {
            let part = deadline.of(phase).duration_since(Instant::now());
            tokio::time::advance(part).await;
            took.push(part);
            if phase == Phase::HandOver {
                // Calls are accepted meanwhile, and for so long at least.
                tokio::time::advance(drain.saturating_sub(part)).await;
            }
        }
        assert!(begun.elapsed() <= grace, "{took:?} after {drain:?} of {grace:?}");
        took
    }

    #[tokio::test(start_paused = true)]
    async fn phases_that_all_hang_end_by_the_deadline_and_leave_each_other_their_part() {
        // The shortest that the schema of a Cluster allows, in proportion, and what a person may set by hand.
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
