//! Appends with a single attempt, or with retries that carry the same event ids until the outcome is known.

use crate::{Client, Error, Rejection, RetryPolicy, v1};
use taffrail_proto::v1::streams_client::StreamsClient;
use tokio::time::{Instant, sleep};

/// The required state of a stream for an append to be accepted (optimistic concurrency control).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any state, including a stream without events.
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has an event or more.
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

impl Client {
    /// Appends a batch to a stream atomically, with a single attempt.
    ///
    /// ```no_run
    /// use taffrail_client::{Client, Error, EventBuilder, Expected, Rejection};
    ///
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let shipped = EventBuilder::new("OrderShipped").build();
    /// match client.append("order-1", Expected::Exact(0), vec![shipped]).await {
    ///     Ok(stored) => println!("stored at revision {}", stored.last_revision()),
    ///     Err(Error::Rejected(Rejection::WrongRevision { actual, .. })) => println!("the stream is at {actual}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Rejected`], [`Error::Invalid`]: the store did not store the batch.
    /// - [`Error::Unavailable`], [`Error::Deadline`]: no node proposed the batch.
    /// - [`Error::OutcomeUnknown`]: the batch may be stored. An append with the same event ids is safe.
    pub async fn append(
        &self,
        stream: &str,
        expected: Expected,
        events: Vec<v1::NewEvent>,
    ) -> Result<v1::AppendResponse, Error> {
        self.append_request(request(stream, expected, events)).await
    }

    /// Appends a batch to a stream atomically, and retries with the same event ids while [`Error::is_retryable`] holds
    /// and `policy` allows. The store recognises a batch stored by an earlier attempt and answers with the result of
    /// the earlier attempt, so no batch is stored twice. For [`Expected::Any`] and [`Expected::StreamExists`] this
    /// guarantee holds within the store's repeat window, 15 minutes by default.
    ///
    /// ```no_run
    /// use taffrail_client::{Client, EventBuilder, Expected, RetryPolicy};
    ///
    /// # async fn example(client: Client) -> Result<(), taffrail_client::Error> {
    /// let event = EventBuilder::new("OrderPaid").build();
    /// let stored = client.append_retrying("order-1", Expected::Any, vec![event], RetryPolicy::default()).await?;
    /// println!("stored at position {}", stored.last_position());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Same as [`Client::append`]. [`Error::OutcomeUnknown`] means that no later attempt proved the outcome of the
    /// attempt whose outcome was unknown.
    pub async fn append_retrying(
        &self,
        stream: &str,
        expected: Expected,
        events: Vec<v1::NewEvent>,
        policy: RetryPolicy,
    ) -> Result<v1::AppendResponse, Error> {
        let request = request(stream, expected, events);
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
                tracing::debug!(attempt, %error, "retrying append");
                sleep(pause).await;
                continue;
            }
            return Err(combined_error(expected, unknown, error));
        }
        unreachable!("the total time of the policy ends the attempts")
    }

    async fn append_request(&self, request: v1::AppendRequest) -> Result<v1::AppendResponse, Error> {
        let mut streams = StreamsClient::new(self.channel())
            .max_encoding_message_size(crate::MESSAGE_BYTES_MAX)
            .max_decoding_message_size(crate::MESSAGE_BYTES_MAX);
        let answer = streams.append(self.unary(request)).await.map_err(Error::from_append_status)?;
        Ok(answer.into_inner())
    }
}

fn request(stream: &str, expected: Expected, events: Vec<v1::NewEvent>) -> v1::AppendRequest {
    v1::AppendRequest {
        stream: stream.to_owned(),
        expected: Some(expected.into()),
        events,
        ..v1::AppendRequest::default()
    }
}

/// Combines the errors of all attempts of an append: `error` of the last attempt, and the message of an earlier attempt
/// whose outcome is `unknown`.
fn combined_error(expected: Expected, unknown: Option<String>, error: Error) -> Error {
    let Some(message) = unknown else { return error };
    match error {
        Error::Rejected(rejection) if expected.is_final_refusal(&rejection) => Error::Rejected(rejection),
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

impl Expected {
    /// Returns true if an append with this expectation, refused with `rejection`, cannot be accepted later, no
    /// matter how the stream grows. Otherwise an earlier attempt still in flight could be accepted after the refusal
    /// of a later attempt.
    fn is_final_refusal(self, rejection: &Rejection) -> bool {
        match (self, rejection) {
            (_, Rejection::Other { .. }) | (Self::NoStream, Rejection::WrongRevision { .. }) => true,
            (Self::Exact(expected), Rejection::WrongRevision { actual, .. }) => {
                actual.revision().is_some_and(|actual| actual > expected)
            }
            (Self::Any | Self::StreamExists, Rejection::WrongRevision { .. }) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Actual;

    fn wrong(actual: Actual) -> Rejection {
        Rejection::WrongRevision { stream: "s".into(), expected: "x".into(), actual }
    }

    #[test]
    fn a_refusal_after_an_unknown_attempt_is_final_only_if_it_stays_true() {
        assert!(Expected::NoStream.is_final_refusal(&wrong(Actual::At(0))));
        assert!(Expected::Exact(3).is_final_refusal(&wrong(Actual::At(4))));
        assert!(!Expected::Exact(3).is_final_refusal(&wrong(Actual::At(2))));
        assert!(!Expected::Exact(3).is_final_refusal(&wrong(Actual::Absent)));
        assert!(!Expected::StreamExists.is_final_refusal(&wrong(Actual::Absent)));
    }

    #[test]
    fn unknown_is_never_reported_as_failed() {
        let unavailable = || Error::Deadline { message: "late".into() };
        assert!(matches!(
            combined_error(Expected::Any, Some("broke".into()), unavailable()),
            Error::OutcomeUnknown { .. }
        ));
        assert!(matches!(combined_error(Expected::Any, None, unavailable()), Error::Deadline { .. }));
        assert!(matches!(
            combined_error(Expected::Exact(1), Some("broke".into()), Error::Rejected(wrong(Actual::At(5)))),
            Error::Rejected(_)
        ));
    }
}
