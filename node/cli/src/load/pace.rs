//! Schedule of the calls of a load run.

use super::LoadProfile;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Clock of a run, shared by all workers: decides when the next call starts and when the run ends.
pub struct Pace {
    begin: Instant,
    end: Option<Instant>,
    /// End of the warm-up.
    counted_from: Instant,
    rate: Option<u64>,
    count: u64,
    next: AtomicU64,
}

/// A call that a worker is to make.
#[derive(Clone, Copy, Debug)]
pub struct ScheduledCall {
    /// Index of the call in the run, from 0.
    pub number: u64,
    /// Time from which the latency of the call counts.
    pub start: Instant,
    /// False during the warm-up: the tally ignores the call.
    pub counted: bool,
}

impl Pace {
    /// Starts the clock. If `count` is set, the duration does not end the run.
    #[must_use]
    pub fn new(profile: &LoadProfile) -> Self {
        let begin = Instant::now();
        let warmup = profile.warmup.unwrap_or_default();
        Self {
            begin,
            end: profile.count.is_none().then(|| begin + warmup + profile.duration),
            counted_from: begin + warmup,
            rate: profile.rate,
            count: profile.count.unwrap_or(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    /// Waits for the start of the next call; `None` at the end of the run.
    pub async fn next_call(&self) -> Option<ScheduledCall> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            return None;
        }
        let start = match self.rate {
            None => Instant::now(),
            Some(rate) => {
                let at = self.begin + scheduled(number, rate);
                if self.end.is_some_and(|end| at >= end) {
                    return None;
                }
                sleep_until(at).await;
                at
            }
        };
        // The end of the run may have passed while this call waited for its start.
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return None;
        }
        Some(ScheduledCall { number, start, counted: start >= self.counted_from })
    }

    /// Returns the time since the end of the warm-up.
    #[must_use]
    pub fn counted_for(&self) -> Duration {
        self.counted_from.elapsed()
    }
}

/// Returns the start of call `number` of an open loop, relative to the start of the run. Late calls do not
/// delay later starts.
fn scheduled(number: u64, rate: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_starts_calls_by_the_clock() {
        assert_eq!(scheduled(0, 10), Duration::ZERO);
        assert_eq!(scheduled(1, 10), Duration::from_millis(100));
        assert_eq!(scheduled(25, 10), Duration::from_millis(2500));
        assert_eq!(scheduled(3_000_000, 3_000_000), Duration::from_secs(1));
        assert!(scheduled(u64::MAX, 1) > Duration::from_secs(1_000_000));
    }

    async fn calls(rate: Option<u64>, count: Option<u64>, duration: Duration) -> u64 {
        let pace = Pace::new(&LoadProfile { concurrency: 1, connections: 1, rate, duration, count, warmup: None });
        let mut calls = 0;
        while pace.next_call().await.is_some() {
            calls += 1;
        }
        calls
    }

    #[tokio::test]
    async fn a_count_ends_the_run_whatever_the_time() {
        assert_eq!(calls(None, Some(3), Duration::ZERO).await, 3);
        assert_eq!(calls(Some(1_000_000), Some(3), Duration::ZERO).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_makes_as_many_calls_as_its_rate_says() {
        assert_eq!(calls(Some(100), None, Duration::from_millis(50)).await, 5);
    }
}
