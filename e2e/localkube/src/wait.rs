//! Repeated observation of a condition until the condition holds or a deadline passes.

use std::{fmt::Display, future::Future, time::Duration};
use tokio::time::{Instant, sleep};

/// The pause between two observations.
const INTERVAL: Duration = Duration::from_millis(200);

/// The condition did not hold within the deadline.
#[derive(Debug, thiserror::Error)]
#[error("waited {seconds} s for {what}; last observation: {last_observation}")]
pub struct TimedOut {
    /// The name of the condition.
    pub what: String,
    /// The deadline in seconds.
    pub seconds: u64,
    /// Result of the last observation.
    pub last_observation: String,
}

/// Calls `observe` until the result is `Ok`. An `Err` means that the condition does not hold yet, and
/// describes the observation.
///
/// # Errors
/// When `deadline` has passed without an `Ok`.
pub async fn until<T, E, F, Fut>(what: &str, deadline: Duration, mut observe: F) -> Result<T, TimedOut>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut last_observation = "nothing yet".to_owned();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, observe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(observed)) => last_observation = observed.to_string(),
            // An observation that hangs must not hide the result of the earlier observations.
            Err(_) => {}
        }
        if started.elapsed() >= deadline {
            return Err(TimedOut { what: what.to_owned(), seconds: deadline.as_secs(), last_observation });
        }
        sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let value = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            let seen = looks;
            async move { if seen == 3 { Ok(seen) } else { Err(format!("look {seen}")) } }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_it_saw_last() {
        let error = until("rain", Duration::from_secs(1), || async { Err::<(), _>("sunshine") }).await.unwrap_err();
        assert_eq!(error.to_string(), "waited 1 s for rain; last observation: sunshine");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_bounded_too() {
        let error =
            until("an answer", Duration::from_secs(2), std::future::pending::<Result<(), String>>).await.unwrap_err();
        assert_eq!(error.last_observation, "nothing yet");
    }
}
