//! How often and how fast to try again.

use std::time::Duration;

/// Bounds of the attempts of one append.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// All attempts together.
    pub total: Duration,
    /// The first pause; doubled each time.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { total: Duration::from_secs(30), pause_min: Duration::from_millis(20), pause_max: Duration::from_secs(1) }
    }
}

impl RetryPolicy {
    /// The pause before attempt `attempt` (from 1), at least what the server asked for, with jitter so that many callers
    /// do not come back together.
    #[expect(clippy::disallowed_methods, reason = "the seam is the node's; no outcome hangs on the jitter")]
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
