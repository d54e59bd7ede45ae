//! Waiting for a condition: looked at again and again, with a deadline and with words for what was waited for.

use std::{fmt::Display, future::Future, time::Duration};
use tokio::time::{Instant, sleep};

/// How long between two looks. Short, because a look is cheap beside what is waited for.
const INTERVAL: Duration = Duration::from_millis(200);

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {seconds} s for {what}; last seen: {last_seen}")]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub seconds: u64,
    /// What the last look saw.
    pub last_seen: String,
}

/// Looks until `look` answers `Ok`. An `Err` means "not yet" and says what was seen instead.
///
/// # Errors
/// When `deadline` has passed without an `Ok`.
pub async fn until<T, E, F, Fut>(what: &str, deadline: Duration, mut look: F) -> Result<T, TimedOut>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut last_seen = "nothing yet".to_owned();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last_seen = seen.to_string(),
            // A look that hangs must not hide what the looks before it saw.
            Err(_) => {}
        }
        if started.elapsed() >= deadline {
            return Err(TimedOut { what: what.to_owned(), seconds: deadline.as_secs(), last_seen });
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
        assert_eq!(error.to_string(), "waited 1 s for rain; last seen: sunshine");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_bounded_too() {
        let error =
            until("an answer", Duration::from_secs(2), std::future::pending::<Result<(), String>>).await.unwrap_err();
        assert_eq!(error.last_seen, "nothing yet");
    }
}
