//! Rate limit of status refreshes (status writes without a condition change): a refresh per minute for each object, ten
//! per second for the operator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// Delay of a refresh after any write, because several leaders tend to move together.
const SETTLE: Duration = Duration::from_secs(1);
const REFRESHES_A_SECOND: f64 = 10.0;

/// Token bucket and last write times for status refreshes.
#[derive(Debug)]
pub(crate) struct StatusGate {
    state: Mutex<GateState>,
}

#[derive(Debug)]
struct GateState {
    objects: BTreeMap<String, Writes>,
    tokens: f64,
    filled: Instant,
}

/// Times of the last status writes of an object.
#[derive(Clone, Copy, Debug)]
struct Writes {
    any: Instant,
    /// Last write without a condition change.
    refresh: Option<Instant>,
}

impl Default for StatusGate {
    fn default() -> Self {
        Self {
            state: Mutex::new(GateState {
                objects: BTreeMap::new(),
                tokens: REFRESHES_A_SECOND,
                filled: Instant::now(),
            }),
        }
    }
}

impl StatusGate {
    /// Returns the delay before a refresh of this object. Zero permits the refresh and consumes a token.
    pub(crate) fn refresh(&self, uid: &str, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |at: Instant, wait: Duration| wait.saturating_sub(now.saturating_duration_since(at));
        let wait = state.objects.get(uid).map_or(Duration::ZERO, |writes| {
            let every = writes.refresh.map_or(Duration::ZERO, |at| left(at, REFRESH_EVERY));
            every.max(left(writes.any, SETTLE))
        });
        if !wait.is_zero() {
            return wait;
        }
        let passed = now.saturating_duration_since(state.filled).as_secs_f64();
        state.tokens = (state.tokens + passed * REFRESHES_A_SECOND).min(REFRESHES_A_SECOND);
        state.filled = now;
        if state.tokens < 1.0 {
            return Duration::from_secs(1);
        }
        state.tokens -= 1.0;
        Duration::ZERO
    }

    /// Records a status write; `is_refresh` means a write without a condition change.
    pub(crate) fn wrote(&self, uid: &str, now: Instant, is_refresh: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = state.objects.entry(uid.to_owned()).or_insert(Writes { any: now, refresh: None });
        writes.any = now;
        if is_refresh {
            writes.refresh = Some(now);
        }
    }

    /// Forgets a deleted object.
    pub(crate) fn forget(&self, uid: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).objects.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_refreshed_once_a_minute_and_all_together_ten_times_a_second() {
        let gate = StatusGate::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        gate.wrote("a", start, false);
        assert_eq!(gate.refresh("a", start), SETTLE);
        assert_eq!(gate.refresh("a", after(2)), Duration::ZERO);
        gate.wrote("a", after(2), true);
        assert_eq!(gate.refresh("a", after(22)), Duration::from_secs(40));
        gate.wrote("a", after(30), false);
        assert_eq!(gate.refresh("a", after(62)), Duration::ZERO);
        let at = start + Duration::from_secs(100);
        let passed = (0..30).filter(|n| gate.refresh(&format!("x{n}"), at).is_zero()).count();
        assert_eq!(passed, 10);
        assert_eq!(gate.refresh("y", at + Duration::from_secs(1)), Duration::ZERO);
    }
}
