//! [`Error`]: failures of a reconcile, each with a class and a condition reason.

use crate::{
    name_conflict::{self, NameConflict},
    node_admin,
};
use std::time::Duration;
use taffrail_crds::Reason;

/// Failure of a reconcile.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused a request or did not answer.
    #[error("{doing}: {source}")]
    Api {
        /// Failed step as a phrase, for example "reading the identity".
        doing: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// Objects with needed names exist and belong to another owner. Such an object is never adopted.
    #[error("{}", name_conflict::sentence(.conflicts))]
    NameConflict {
        /// The conflicting objects.
        conflicts: Vec<NameConflict>,
    },
    /// A node refused a call or did not answer.
    #[error("{doing}: {source}")]
    Node {
        /// Failed step as a phrase, for example "draining main-2".
        doing: String,
        #[source]
        source: node_admin::Error,
    },
    /// An object cannot be serialized to JSON or TOML.
    #[error("cannot render {what}: {message}")]
    Render {
        what: &'static str,
        /// Error message of the serializer.
        message: String,
    },
    /// The reconcile exceeded its deadline.
    #[error("reconcile exceeded {} s while {step}", .within.as_secs())]
    Deadline {
        /// Deadline of the reconcile.
        within: Duration,
        /// Step at the time of the deadline, as a phrase.
        step: String,
    },
}

/// Class of an error; decides about the retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Another writer changed the object: retry soon.
    Conflict,
    /// Temporary: retry with a growing backoff.
    Transient,
    /// Permanent until a person changes something.
    Lasting,
    /// The namespace is being deleted; nothing is left to do.
    NamespaceTerminating,
}

impl Class {
    /// Returns the label value for metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Lasting => "lasting",
            Self::NamespaceTerminating => "namespace_terminating",
        }
    }
}

impl Error {
    /// Wraps an error of the API server; `doing` names the failed step.
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source: Box::new(source) }
    }

    /// Wraps an error of a node; `doing` names the failed step.
    pub(crate) fn node(doing: impl Into<String>) -> impl FnOnce(node_admin::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Node { doing, source }
    }

    /// Returns the class of the error.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the errors of kube are foreign and open-ended")]
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if is_terminating(status) => Class::NamespaceTerminating,
                kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => Class::Conflict,
                kube::Error::Api(status) if status.is_forbidden() || status.is_invalid() => Class::Lasting,
                _ => Class::Transient,
            },
            Self::NameConflict { .. } | Self::Render { .. } => Class::Lasting,
            Self::Node { .. } | Self::Deadline { .. } => Class::Transient,
        }
    }

    /// Returns the reason for the condition that reports this error.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the errors of kube are foreign and open-ended")]
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.is_forbidden() => Reason::Forbidden,
                kube::Error::Api(status) if status.is_invalid() => Reason::InvalidSpec,
                _ => Reason::ApiUnavailable,
            },
            Self::NameConflict { .. } => Reason::NameTaken,
            Self::Render { .. } => Reason::InvalidSpec,
            Self::Node { .. } => Reason::NodeUnreachable,
            Self::Deadline { .. } => Reason::DeadlineExceeded,
        }
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
