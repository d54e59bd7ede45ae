//! Errors of calls, classified by the proof that an answer gives about the outcome. A gRPC code alone does not prove
//! whether an append is stored. The `google.rpc.ErrorInfo` with the [domain of Taffrail](DOMAIN) does.

use crate::v1;
use std::{collections::BTreeMap, error::Error as _, fmt, time::Duration};
use taffrail_proto::error_detail;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The domain of every `google.rpc.ErrorInfo` of a Taffrail node.
pub const DOMAIN: &str = "taffrail.io";

/// Possible effect of a failed append on the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// No node proposed the append: nothing is stored, and any retry is safe.
    No,
    /// A node may have proposed the append.
    Unknown,
}

/// The state of a stream that did not match the expected state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actual {
    /// The stream has never had an event.
    Absent,
    /// The revision of the last event.
    At(u64),
    /// The stream is deleted; the revision of the last event before.
    DeletedAt(u64),
    /// The stream is deleted for good; the revision of the last event before.
    TombstonedAt(u64),
}

impl Actual {
    /// Returns the revision of the last event of a stream with visible events.
    #[must_use]
    pub fn revision(self) -> Option<u64> {
        match self {
            Self::At(revision) => Some(revision),
            Self::Absent | Self::DeletedAt(_) | Self::TombstonedAt(_) => None,
        }
    }

    fn from_proto(actual: Option<v1::ActualRevision>) -> Option<Self> {
        use v1::actual_revision::Kind;
        Some(match actual?.kind? {
            Kind::Absent(_) => Self::Absent,
            Kind::At(revision) => Self::At(revision),
            Kind::DeletedAt(revision) => Self::DeletedAt(revision),
            Kind::TombstonedAt(revision) => Self::TombstonedAt(revision),
        })
    }
}

impl fmt::Display for Actual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::At(revision) => write!(f, "{revision}"),
            Self::DeletedAt(revision) => write!(f, "{revision} (deleted)"),
            Self::TombstonedAt(revision) => write!(f, "{revision} (deleted for good)"),
        }
    }
}

/// The leader of a store, as named by the node that refused a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Node id of the leader.
    pub node_id: u64,
    /// Term of the leader, if known; of two hints, the hint with the higher term is newer.
    pub term: Option<u64>,
    /// Address of the leader for clients, `host:port`, if known.
    pub client_address: Option<String>,
}

impl From<v1::LeaderHint> for Leader {
    fn from(hint: v1::LeaderHint) -> Self {
        let client_address = Some(hint.client_address).filter(|address| !address.is_empty());
        Self { node_id: hint.node_id, term: hint.term, client_address }
    }
}

/// A refusal by the rules of the store. Every node gives the same refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The stream is not at the expected revision.
    #[error("stream {stream} is at {actual}, expected {expected}")]
    WrongRevision {
        /// Name of the stream.
        stream: String,
        /// The expected state: `any`, `no_stream`, `stream_exists` or a revision.
        expected: String,
        /// The state of the stream.
        actual: Actual,
    },
    /// Any other refusal: full stream, reused event id, closed store, oversized or malformed request.
    #[error("{message} ({reason})")]
    Other {
        /// The stable reason, as listed in `docs/ERRORS.md`.
        reason: String,
        /// A sentence for people.
        message: String,
        /// Details of the reason, by key.
        details: BTreeMap<String, String>,
    },
}

/// The failure of a call, classified by the proof that the answer gives about the outcome.
///
/// ```
/// use taffrail_client::Error;
///
/// fn advice(error: &Error) -> &'static str {
///     match error {
///         Error::OutcomeUnknown { .. } => "retry with the same event ids",
///         error if error.is_retryable() => "nothing is stored; retry later",
///         _ => "nothing is stored; a retry does not help",
///     }
/// }
/// assert_eq!(advice(&Error::Deadline { message: "too late".to_owned() }), "nothing is stored; retry later");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the node is not valid.
    #[error("endpoint {endpoint}: {message}")]
    InvalidEndpoint {
        /// The address, as the caller gave it.
        endpoint: String,
        /// The broken rule, or the error of the parser.
        message: String,
    },
    /// A field of the request breaks a rule, or needs a feature that the server does not know; the server did nothing.
    #[error("{message}")]
    Invalid {
        /// Name of the field, if the server gave a name.
        field: Option<String>,
        /// The stable reason, if the server gave a reason.
        reason: Option<String>,
        /// A sentence for people.
        message: String,
    },
    /// The rules of the store refuse the append; nothing is stored.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store does not exist.
    #[error("{message}")]
    NotFound {
        /// `STORE_NOT_FOUND`, or empty.
        reason: String,
        /// A sentence for people.
        message: String,
        /// Similar names of stores.
        nearest: Vec<String>,
    },
    /// No node could answer the call now.
    #[error("{message}")]
    Unavailable {
        /// The stable reason; `CONNECT` when no connection could be made, empty when the server gave none.
        reason: String,
        /// A sentence for people.
        message: String,
        /// Possible effect on the log. An append with [`Proposed::Unknown`] is reported
        /// as [`Error::OutcomeUnknown`] instead.
        proposed: Proposed,
        /// The leader of the store, if the answer named the leader.
        leader: Option<Leader>,
        /// The pause before a retry, as requested by the server.
        retry_after: Option<Duration>,
    },
    /// The deadline passed before a node proposed the append.
    #[error("the deadline passed: {message}")]
    Deadline {
        /// A sentence for people.
        message: String,
    },
    /// The append may or may not be stored. A retry with the same event ids is safe and proves the outcome.
    #[error("the outcome is unknown: {message}")]
    OutcomeUnknown {
        /// The failure of the call.
        message: String,
    },
    /// The caller is not allowed to make the call.
    #[error("{message}")]
    Denied {
        /// A sentence for people.
        message: String,
    },
    /// Stored data is damaged, the server failed, or the server speaks another version of the protocol.
    #[error("{}: {}", .0.code(), .0.message())]
    Failed(#[source] Box<Status>),
}

impl Error {
    /// Returns true if a retry with the same event ids may help.
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

    /// Returns the pause before a retry, as requested by the server.
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

    /// Converts the status of a call other than an append.
    #[must_use]
    pub fn from_status(status: Status) -> Self {
        Self::from_error_info(&status).unwrap_or_else(|| Self::from_code(status))
    }

    /// Converts the status of an append. The outcome is unknown unless the status proves that nothing is stored.
    #[must_use]
    pub fn from_append_status(status: Status) -> Self {
        if let Some(error) = Self::from_error_info(&status) {
            return error;
        }
        if never_sent(&status) {
            return Self::from_code(status);
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
            | Code::Unauthenticated => Self::from_code(status),
        }
    }

    /// Converts a status with an `ErrorInfo` of a Taffrail node, the only proof whether an append is stored. Returns
    /// `None` for any other status.
    fn from_error_info(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info().filter(|i| i.domain == DOMAIN)?;
        let message = status.message().to_owned();
        let typed = error_detail::find(status.details()).unwrap_or_default();
        let detail = |key: &str| info.metadata.get(key).cloned();
        let text = |key: &str| detail(key).unwrap_or_default();
        if info.reason == "OUTCOME_UNKNOWN" || text("proposed") == "unknown" {
            return Some(Self::OutcomeUnknown { message });
        }
        // A state that this client does not know is an `Other` below.
        if let Some(actual) = Actual::from_proto(typed.wrong_revision.and_then(|wrong| wrong.actual)) {
            let (stream, expected) = (text("stream"), text("expected"));
            return Some(Self::Rejected(Rejection::WrongRevision { stream, expected, actual }));
        }
        Some(match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => {
                Self::Invalid { field: detail("field"), reason: Some(info.reason), message }
            }
            Code::NotFound => Self::NotFound {
                nearest: text("nearest").split(',').filter(|n| !n.is_empty()).map(ToOwned::to_owned).collect(),
                reason: info.reason,
                message,
            },
            // A full queue passes; a full stream is a rule of the store.
            Code::Unavailable | Code::ResourceExhausted if info.reason != "STREAM_FULL" => Self::Unavailable {
                leader: typed.leader.map(Leader::from),
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
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Failed(Box::new(status.clone())),
        })
    }

    /// Converts a status without an `ErrorInfo` by the gRPC code.
    fn from_code(status: Status) -> Self {
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
                    message: with_root_cause(&status),
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

/// Returns true if no connection could be established and the request was therefore never sent.
#[must_use]
pub fn never_sent(status: &Status) -> bool {
    caused_by::<tonic::ConnectError>(status)
}

/// Returns true if the timer of tonic ended the call, in the client or in the server. tonic reports this as CANCELLED.
fn timed_out(status: &Status) -> bool {
    caused_by::<tonic::TimeoutExpired>(status) || status.message() == tonic::TimeoutExpired(()).to_string()
}

/// Returns true if an error of type `E` is among the sources of the status.
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

/// Returns the message of a status followed by the root cause: the address, or the error of the operating system.
fn with_root_cause(status: &Status) -> String {
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
        #[expect(clippy::disallowed_types, reason = "tonic requires this type; nothing depends on the order")]
        let details: std::collections::HashMap<String, String> =
            details.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Status::with_error_details(code, "m", ErrorDetails::with_error_info(reason, DOMAIN, details))
    }

    #[test]
    fn a_rejection_names_the_revisions() {
        let details = [("stream", "s"), ("expected", "3"), ("actual", "7")];
        let bare = || status(Code::FailedPrecondition, "WRONG_REVISION", &details);
        let actual = v1::ActualRevision { kind: Some(v1::actual_revision::Kind::At(7)) };
        let wrong = v1::WrongRevision { actual: Some(actual), ..v1::WrongRevision::default() };
        let detail = v1::ErrorDetail { wrong_revision: Some(wrong), ..v1::ErrorDetail::default() };
        let error = Error::from_append_status(typed(bare(), &detail));
        let Error::Rejected(Rejection::WrongRevision { stream, expected, actual }) = error else { panic!("{error:?}") };
        assert_eq!((stream.as_str(), expected.as_str(), actual), ("s", "3", Actual::At(7)));
        // Without a known state the refusal is still a refusal.
        let error = Error::from_append_status(bare());
        assert!(matches!(&error, Error::Rejected(Rejection::Other { reason, .. }) if reason == "WRONG_REVISION"));
    }

    fn typed(status: Status, detail: &v1::ErrorDetail) -> Status {
        Status::with_details(status.code(), status.message(), error_detail::attach(status.details(), detail))
    }

    #[test]
    fn without_our_word_an_append_is_unknown() {
        for code in [Code::Unavailable, Code::Cancelled, Code::DeadlineExceeded, Code::Unknown, Code::Internal] {
            let error = Error::from_append_status(Status::new(code, "x"));
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{code:?}: {error:?}");
            let foreign = ErrorDetails::with_error_info("NOT_LEADER", "example.com", NONE);
            let error = Error::from_append_status(Status::with_error_details(code, "x", foreign));
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{code:?}: {error:?}");
        }
    }

    #[test]
    fn our_word_proves_that_nothing_was_proposed() {
        let mut details =
            ErrorDetails::with_error_info("NOT_LEADER", DOMAIN, [("proposed".to_owned(), "false".to_owned())]);
        details.set_retry_info(Some(Duration::from_millis(200)));
        let hint = v1::LeaderHint { node_id: 4, term: Some(7), client_address: "n4:2113".into() };
        let detail = v1::ErrorDetail { leader: Some(hint), ..v1::ErrorDetail::default() };
        let status = typed(Status::with_error_details(Code::Unavailable, "x", details), &detail);
        let error = Error::from_append_status(status);
        assert_eq!(error.retry_after(), Some(Duration::from_millis(200)));
        let Error::Unavailable { proposed: Proposed::No, leader: Some(leader), .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(leader, Leader { node_id: 4, term: Some(7), client_address: Some("n4:2113".into()) });
    }

    #[test]
    fn an_expired_timer_is_a_deadline_for_reads_and_unknown_for_appends() {
        let expired = || Status::cancelled(tonic::TimeoutExpired(()).to_string());
        assert!(matches!(Error::from_status(expired()), Error::Deadline { .. }));
        assert!(matches!(Error::from_append_status(expired()), Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn unknown_stays_unknown_whatever_the_code() {
        let error = Error::from_append_status(status(Code::Unknown, "OUTCOME_UNKNOWN", &[]));
        assert!(matches!(error, Error::OutcomeUnknown { .. }));
        let error = Error::from_append_status(status(Code::Unavailable, "SHUTTING_DOWN", &[("proposed", "unknown")]));
        assert!(matches!(error, Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn nearest_names_are_a_list() {
        let error = Error::from_status(status(Code::NotFound, "STORE_NOT_FOUND", &[("nearest", "a/b,a/c")]));
        let Error::NotFound { nearest, .. } = error else { panic!("{error:?}") };
        assert_eq!(nearest, ["a/b", "a/c"]);
    }
}
