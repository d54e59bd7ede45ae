//! Exponential backoff after failures of the same object. The controller runtime reports failures only, so this module
//! counts consecutive failures by UID: a new object with an old name starts at zero.

use crate::error::Class;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// Consecutive conflicts retried after the short delay. More conflicts mean a rival writer, and the
/// exponential backoff applies.
const CONFLICTS_SOON: u32 = 10;

/// Consecutive failures by UID of the object.
#[derive(Debug, Default)]
pub(crate) struct Backoffs {
    failures: Mutex<BTreeMap<String, FailureCounts>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct FailureCounts {
    conflicts: u32,
    others: u32,
}

impl Backoffs {
    /// Counts a failure and returns the delay before the retry. `random_fraction` is uniform in 0..1 and spreads the
    /// retries of many objects.
    pub(crate) fn failed(&self, uid: &str, class: Class, random_fraction: f64) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = failures.entry(uid.to_owned()).or_default();
        if class == Class::Conflict && counts.conflicts < CONFLICTS_SOON {
            counts.conflicts += 1;
            return AFTER_CONFLICT;
        }
        counts.others = counts.others.saturating_add(1);
        delay(counts.others).mul_f64(0.8 + 0.4 * random_fraction.clamp(0.0, 1.0))
    }

    /// Forgets the failures of an object that succeeded or was deleted.
    pub(crate) fn reset(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_success() {
        let backoffs = Backoffs::default();
        let waits: Vec<u64> = (0..12).map(|_| backoffs.failed("a", Class::Transient, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoffs.failed("b", Class::Lasting, 0.5).as_secs(), 1);
        backoffs.reset("a");
        assert_eq!(backoffs.failed("a", Class::Transient, 0.5).as_secs(), 1);
    }

    #[test]
    fn a_conflict_is_looked_at_soon_unless_it_never_ends() {
        let backoffs = Backoffs::default();
        for _ in 0..CONFLICTS_SOON {
            assert_eq!(backoffs.failed("a", Class::Conflict, 0.0), AFTER_CONFLICT);
        }
        assert_eq!(backoffs.failed("a", Class::Transient, 0.5).as_secs(), 1);
        assert_eq!(backoffs.failed("a", Class::Conflict, 0.5).as_secs(), 2);
        backoffs.reset("a");
        assert_eq!(backoffs.failed("a", Class::Conflict, 0.5), AFTER_CONFLICT);
    }
}
