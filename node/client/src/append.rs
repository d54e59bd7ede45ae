//! Appends: one attempt, or attempts with the same ids until the outcome is known.

use crate::{Client, Error, Rejection, RetryPolicy, v1};
use taffrail_proto::v1::streams_client::StreamsClient;
use tokio::time::{Instant, sleep};

/// The state a stream must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream's last event has this revision.
    Exact(u64),
}

impl From<Expected> for v1::ExpectedRevision {
    fn from(expected: Expected) -> Self {
        use v1::expected_revision::Kind;
        let kind = match expected {
            Expected::Any => Kind::Any(v1::Unit {}),
            Expected::NoStream => Kind::NoStream(v1::Unit {}),
            Expected::StreamExists => Kind::StreamExists(v1::Unit {}),
            Expected::Exact(revision) => Kind::Exact(revision),
        };
        Self { kind: Some(kind) }
    }
}

impl Expected {
    /// True when an append refused so can never be accepted later, whatever is appended meanwhile. An earlier attempt
    /// that is still on its way may arrive after the refusal of a later one; only then is the refusal the last word.
    fn refused_for_good(self, rejection: &Rejection) -> bool {
        match (self, rejection) {
            (_, Rejection::Other { .. }) | (Self::NoStream, Rejection::WrongRevision { .. }) => true,
            (Self::Exact(expected), Rejection::WrongRevision { actual, .. }) => {
                actual.parse::<u64>().is_ok_and(|actual| actual > expected)
            }
            (Self::Any | Self::StreamExists, Rejection::WrongRevision { .. }) => false,
        }
    }
}

impl Client {
    /// Appends one batch to one stream, all of it or nothing. One attempt.
    ///
    /// # Errors
    /// `Rejected` and `Invalid`: nothing is stored. `Unavailable` and `Deadline`: nothing was proposed.
    /// `OutcomeUnknown`: it may be stored.
    pub async fn append(
        &self,
        stream: &str,
        expected: Expected,
        events: Vec<v1::NewEvent>,
    ) -> Result<v1::AppendResponse, Error> {
        self.append_request(v1::AppendRequest { stream: stream.to_owned(), expected: Some(expected.into()), events })
            .await
    }

    async fn append_request(&self, request: v1::AppendRequest) -> Result<v1::AppendResponse, Error> {
        let mut streams = StreamsClient::new(self.channel())
            .max_encoding_message_size(crate::MESSAGE_BYTES_MAX)
            .max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let answer = streams.append(self.unary(request)).await.map_err(Error::of_append)?;
        Ok(answer.into_inner())
    }

    /// Appends one batch, and tries again with the same ids while that can help: what was stored by an earlier attempt is
    /// recognised and answered again, so nothing is stored twice (for `any` and `stream_exists`: within the store's
    /// repeat window, 15 minutes by default).
    ///
    /// # Errors
    /// As `append`. `OutcomeUnknown` only if an attempt remained unknown to the end.
    pub async fn append_retrying(
        &self,
        stream: &str,
        expected: Expected,
        events: Vec<v1::NewEvent>,
        policy: RetryPolicy,
    ) -> Result<v1::AppendResponse, Error> {
        let request = v1::AppendRequest { stream: stream.to_owned(), expected: Some(expected.into()), events };
        let end = Instant::now() + policy.total;
        let mut unknown: Option<String> = None;
        for attempt in 1_u32.. {
            let error = match self.append_request(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if let Error::OutcomeUnknown { message } = &error {
                unknown = Some(message.clone());
            }
            let pause = policy.pause(attempt, error.retry_after());
            if error.is_retryable() && Instant::now() + pause < end {
                tracing::debug!(attempt, %error, "append is tried again");
                sleep(pause).await;
                continue;
            }
            return Err(last_word(expected, unknown, error));
        }
        unreachable!("attempts end with the time that they have")
    }
}

/// What several attempts prove together.
fn last_word(expected: Expected, unknown: Option<String>, error: Error) -> Error {
    let Some(message) = unknown else { return error };
    match error {
        Error::Rejected(rejection) if expected.refused_for_good(&rejection) => Error::Rejected(rejection),
        Error::Rejected(rejection) => Error::OutcomeUnknown { message: format!("{message}; then: {rejection}") },
        Error::OutcomeUnknown { message } => Error::OutcomeUnknown { message },
        other @ (Error::InvalidEndpoint { .. }
        | Error::Invalid { .. }
        | Error::NotFound { .. }
        | Error::Unavailable { .. }
        | Error::Deadline { .. }
        | Error::Denied { .. }
        | Error::Failed(_)) => Error::OutcomeUnknown { message: format!("{message}; then: {other}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(actual: &str) -> Rejection {
        Rejection::WrongRevision { stream: "s".into(), expected: "x".into(), actual: actual.into() }
    }

    #[test]
    fn a_refusal_after_an_unknown_attempt_is_final_only_if_it_stays_true() {
        assert!(Expected::NoStream.refused_for_good(&wrong("0")));
        assert!(Expected::Exact(3).refused_for_good(&wrong("4")));
        assert!(!Expected::Exact(3).refused_for_good(&wrong("2")));
        assert!(!Expected::Exact(3).refused_for_good(&wrong("empty")));
        assert!(!Expected::StreamExists.refused_for_good(&wrong("empty")));
    }

    #[test]
    fn unknown_is_never_reported_as_failed() {
        let unavailable = || Error::Deadline { message: "late".into() };
        assert!(matches!(last_word(Expected::Any, Some("broke".into()), unavailable()), Error::OutcomeUnknown { .. }));
        assert!(matches!(last_word(Expected::Any, None, unavailable()), Error::Deadline { .. }));
        assert!(matches!(
            last_word(Expected::Exact(1), Some("broke".into()), Error::Rejected(wrong("5"))),
            Error::Rejected(_)
        ));
    }
}
