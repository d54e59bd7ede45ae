//! When calls start, and when there are no more.

use super::Shape;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Hands out starts to all workers.
pub struct Pace {
    begin: Instant,
    end: Option<Instant>,
    /// Calls before this are not counted.
    counted_from: Instant,
    rate: Option<u64>,
    count: u64,
    next: AtomicU64,
}

/// One call to make.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The how-manieth call.
    pub number: u64,
    /// From when its latency counts.
    pub start: Instant,
    /// False during the warm-up.
    pub counted: bool,
}

impl Pace {
    /// Starts the clock. With `count` the duration does not end the run.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let begin = Instant::now();
        let warmup = shape.warmup.unwrap_or_default();
        Self {
            begin,
            end: shape.count.is_none().then(|| begin + warmup + shape.duration),
            counted_from: begin + warmup,
            rate: shape.rate,
            count: shape.count.unwrap_or(u64::MAX),
            next: AtomicU64::new(0),
        }
    }

    /// The next call, at its time; `None` when the run is over.
    pub async fn turn(&self) -> Option<Turn> {
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
        // A run that has time to end by ends then, whatever is still on the schedule.
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return None;
        }
        Some(Turn { number, start, counted: start >= self.counted_from })
    }

    /// How long calls have been counted.
    #[must_use]
    pub fn counted_for(&self) -> Duration {
        self.counted_from.elapsed()
    }
}

/// When call `number` of an open loop starts, after its begin: by its number alone, however late the calls before it are.
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
        let pace = Pace::new(&Shape { concurrency: 1, connections: 1, rate, duration, count, warmup: None });
        let mut calls = 0;
        while pace.turn().await.is_some() {
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
