//! What an answer proves. Codes alone do not say whether an append is stored; `google.rpc.ErrorInfo` of our domain does.

use std::{collections::BTreeMap, error::Error as _, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of every reason.
pub const DOMAIN: &str = "taffrail.io";

/// Whether an append may have reached the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It was not proposed: nothing is stored, and any retry is safe.
    No,
    /// It may have been.
    Unknown,
}

/// A refusal by the rules of the store: the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The stream is not at the expected revision.
    #[error("stream {stream} is at {actual}, expected {expected}")]
    WrongRevision {
        /// The stream.
        stream: String,
        /// As the server understood it: `any`, `no_stream`, `stream_exists` or a revision.
        expected: String,
        /// `empty`, or the revision of the last event.
        actual: String,
    },
    /// Any other refusal: full stream, event id reused, closed store, oversized or malformed request.
    #[error("{message} ({reason})")]
    Other {
        /// The stable reason.
        reason: String,
        /// One sentence.
        message: String,
        /// Details as the server gave them.
        details: BTreeMap<String, String>,
    },
}

/// Why a call has no positive answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address does not parse.
    #[error("endpoint {endpoint}: {message}")]
    InvalidEndpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        message: String,
    },
    /// A field breaks a rule; nothing was done.
    #[error("{message}")]
    Invalid {
        /// The field, if the server named one.
        field: Option<String>,
        /// The stable reason, if the server gave one.
        reason: Option<String>,
        /// One sentence.
        message: String,
    },
    /// Refused by the rules; nothing is stored.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No such stream or store.
    #[error("{message}")]
    NotFound {
        /// `STREAM_NOT_FOUND`, `STORE_NOT_FOUND`, or empty.
        reason: String,
        /// One sentence.
        message: String,
        /// Similar names.
        nearest: Vec<String>,
    },
    /// Nobody could answer now.
    #[error("{message}")]
    Unavailable {
        /// The stable reason; `CONNECT` when no connection could be made, empty when the server gave none.
        reason: String,
        /// One sentence.
        message: String,
        /// Whether an append may have been proposed. Appends with `Unknown` are reported as `OutcomeUnknown` instead.
        proposed: Proposed,
        /// Node id of the leader, if the answer named one.
        leader: Option<u64>,
        /// How long to wait before another try.
        retry_after: Option<Duration>,
    },
    /// The deadline passed before anything was proposed.
    #[error("the deadline passed: {message}")]
    Deadline {
        /// One sentence.
        message: String,
    },
    /// An append that may or may not be stored. Trying again with the same event ids is safe and finds out.
    #[error("the outcome is unknown: {message}")]
    OutcomeUnknown {
        /// What happened.
        message: String,
    },
    /// Not allowed.
    #[error("{message}")]
    Denied {
        /// One sentence.
        message: String,
    },
    /// Stored data is damaged, the server failed, or it speaks another version.
    #[error("{}: {}", .0.code(), .0.message())]
    Failed(#[source] Box<Status>),
}

impl Error {
    /// True when trying again, with the same event ids, may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Deadline { .. } | Self::OutcomeUnknown { .. } => true,
            Self::InvalidEndpoint { .. }
            | Self::Invalid { .. }
            | Self::Rejected(_)
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Failed(_) => false,
        }
    }

    /// How long the server asks to wait before another try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::InvalidEndpoint { .. }
            | Self::Invalid { .. }
            | Self::Rejected(_)
            | Self::NotFound { .. }
            | Self::Deadline { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Denied { .. }
            | Self::Failed(_) => None,
        }
    }

    /// Of a call that changes nothing.
    #[must_use]
    pub fn of_read(status: Status) -> Self {
        Self::with_info(&status).unwrap_or_else(|| Self::by_code(status))
    }

    /// Of an append: what does not prove the opposite leaves the outcome unknown.
    #[must_use]
    pub fn of_append(status: Status) -> Self {
        if let Some(error) = Self::with_info(&status) {
            return error;
        }
        if never_sent(&status) {
            return Self::by_code(status);
        }
        match status.code() {
            Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Ok => Self::OutcomeUnknown { message: format!("{}: {}", status.code(), status.message()) },
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::by_code(status),
        }
    }

    /// By our own reason, the only thing that proves anything.
    fn with_info(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|i| i.domain == DOMAIN)?;
        let message = status.message().to_owned();
        let detail = |key: &str| info.metadata.get(key).cloned();
        let text = |key: &str| detail(key).unwrap_or_default();
        if info.reason == "OUTCOME_UNKNOWN" || text("proposed") == "unknown" {
            return Some(Self::OutcomeUnknown { message });
        }
        Some(match status.code() {
            Code::InvalidArgument | Code::OutOfRange => {
                Self::Invalid { field: detail("field"), reason: Some(info.reason), message }
            }
            Code::FailedPrecondition if info.reason == "WRONG_REVISION" => Self::Rejected(Rejection::WrongRevision {
                stream: text("stream"),
                expected: text("expected"),
                actual: text("actual"),
            }),
            Code::NotFound => Self::NotFound {
                nearest: text("nearest").split(',').filter(|n| !n.is_empty()).map(ToOwned::to_owned).collect(),
                reason: info.reason,
                message,
            },
            // A full queue is a matter of now; a full stream is one of the rules.
            Code::Unavailable | Code::ResourceExhausted if info.reason != "STREAM_FULL" => Self::Unavailable {
                leader: detail("leader_node").and_then(|n| n.parse().ok()),
                retry_after: status.get_details_retry_info().and_then(|r| r.retry_delay),
                proposed: Proposed::No,
                reason: info.reason,
                message,
            },
            Code::FailedPrecondition | Code::AlreadyExists | Code::ResourceExhausted => {
                Self::Rejected(Rejection::Other {
                    reason: info.reason,
                    message,
                    details: info.metadata.into_iter().collect(),
                })
            }
            Code::DeadlineExceeded => Self::Deadline { message },
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied { message },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Failed(Box::new(status.clone())),
        })
    }

    fn by_code(status: Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid { field: None, reason: None, message },
            Code::NotFound => Self::NotFound { reason: String::new(), message, nearest: Vec::new() },
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied { message },
            Code::DeadlineExceeded => Self::Deadline { message },
            Code::Cancelled if timed_out(&status) => Self::Deadline { message },
            Code::Unavailable | Code::Cancelled | Code::ResourceExhausted | Code::Unknown | Code::Aborted => {
                let connect = never_sent(&status);
                Self::Unavailable {
                    reason: if connect { "CONNECT".to_owned() } else { String::new() },
                    message: deepest(&status),
                    proposed: if connect { Proposed::No } else { Proposed::Unknown },
                    leader: None,
                    retry_after: None,
                }
            }
            Code::Ok
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Self::Failed(Box::new(status)),
        }
    }
}

/// True when no connection could be made: the request was never sent.
#[must_use]
pub fn never_sent(status: &Status) -> bool {
    caused_by::<tonic::ConnectError>(status)
}

/// True when tonic's timer ended the call, here or at the server; it says so as CANCELLED.
fn timed_out(status: &Status) -> bool {
    caused_by::<tonic::TimeoutExpired>(status) || status.message() == tonic::TimeoutExpired(()).to_string()
}

fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The message of a status with the innermost cause, which names the address or the system's error.
fn deepest(status: &Status) -> String {
    let mut cause = None;
    let mut source = status.source();
    while let Some(error) = source {
        cause = Some(error.to_string());
        source = error.source();
    }
    match cause {
        Some(cause) if !status.message().contains(&cause) => format!("{}: {cause}", status.message()),
        Some(_) | None => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    const NONE: [(String, String); 0] = [];

    fn status(code: Code, reason: &str, details: &[(&str, &str)]) -> Status {
        #[expect(clippy::disallowed_types, reason = "what tonic takes; nothing hangs on its order")]
        let details: std::collections::HashMap<String, String> =
            details.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Status::with_error_details(code, "m", ErrorDetails::with_error_info(reason, DOMAIN, details))
    }

    #[test]
    fn a_rejection_names_the_revisions() {
        let details = [("stream", "s"), ("expected", "3"), ("actual", "7")];
        let error = Error::of_append(status(Code::FailedPrecondition, "WRONG_REVISION", &details));
        let Error::Rejected(Rejection::WrongRevision { stream, expected, actual }) = error else { panic!("{error:?}") };
        assert_eq!((stream.as_str(), expected.as_str(), actual.as_str()), ("s", "3", "7"));
    }

    #[test]
    fn without_our_word_an_append_is_unknown() {
        for code in [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown, Code::Internal] {
            let error = Error::of_append(Status::new(code, "x"));
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{code:?}: {error:?}");
            let foreign = ErrorDetails::with_error_info("NOT_LEADER", "example.com", NONE);
            let error = Error::of_append(Status::with_error_details(code, "x", foreign));
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{code:?}: {error:?}");
        }
    }

    #[test]
    fn our_word_proves_that_nothing_was_proposed() {
        let mut details = ErrorDetails::with_error_info(
            "NOT_LEADER",
            DOMAIN,
            [("leader_node".to_owned(), "4".to_owned()), ("proposed".to_owned(), "false".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_millis(200)));
        let error = Error::of_append(Status::with_error_details(Code::Unavailable, "x", details));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(200)));
        assert!(matches!(error, Error::Unavailable { proposed: Proposed::No, leader: Some(4), .. }), "{error:?}");
    }

    #[test]
    fn an_expired_timer_is_a_deadline_for_reads_and_unknown_for_appends() {
        let expired = || Status::cancelled(tonic::TimeoutExpired(()).to_string());
        assert!(matches!(Error::of_read(expired()), Error::Deadline { .. }));
        assert!(matches!(Error::of_append(expired()), Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn unknown_stays_unknown_whatever_the_code() {
        let error = Error::of_append(status(Code::Unknown, "OUTCOME_UNKNOWN", &[]));
        assert!(matches!(error, Error::OutcomeUnknown { .. }));
        let error = Error::of_append(status(Code::Unavailable, "SHUTTING_DOWN", &[("proposed", "unknown")]));
        assert!(matches!(error, Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn nearest_names_are_a_list() {
        let error = Error::of_read(status(Code::NotFound, "STORE_NOT_FOUND", &[("nearest", "a/b,a/c")]));
        let Error::NotFound { nearest, .. } = error else { panic!("{error:?}") };
        assert_eq!(nearest, ["a/b", "a/c"]);
    }
}
