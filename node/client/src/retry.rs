//! Retry policy: total time and exponential backoff.

use std::time::Duration;

/// Bounds of the retries of an append, or of the reconnects of a subscription.
///
/// ```
/// use std::time::Duration;
/// use taffrail_client::RetryPolicy;
///
/// let policy = RetryPolicy { total: Duration::from_secs(5), ..RetryPolicy::default() };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Time for all attempts together, 30 s by default.
    pub total: Duration,
    /// Unit of the exponential backoff, 20 ms by default: the pause after attempt n is 2^n times as long.
    pub pause_min: Duration,
    /// The longest pause, 1 s by default.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { total: Duration::from_secs(30), pause_min: Duration::from_millis(20), pause_max: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    /// Returns the pause after attempt `attempt` (from 1): the longer of the exponential backoff and the pause
    /// `asked` for by the server, up to `pause_max`. Jitter shortens the pause to 50..100 %, which spreads the
    /// retries of many callers.
    #[expect(
        clippy::disallowed_methods,
        reason = "the node's seeded source is not available to applications; no outcome depends on the jitter"
    )]
    pub(crate) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.pause_min.saturating_mul(1_u32 << attempt.min(16)).min(self.pause_max);
        let wanted = doubled.max(asked.unwrap_or_default().min(self.pause_max));
        wanted.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let policy = RetryPolicy::default();
        for attempt in 1..40 {
            let pause = policy.pause(attempt, Some(Duration::from_secs(60)));
            assert!(pause <= policy.pause_max && pause >= policy.pause_max / 2, "{attempt}: {pause:?}");
        }
        assert!(policy.pause(1, None) <= policy.pause_min * 2);
    }
}
