//! What can go wrong in a pass, and what to do about it.

use crate::{
    name_conflict::{self, NameConflict},
    node_admin,
};
use std::time::Duration;
use taffrail_crds::Reason;

/// A pass failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused or did not answer.
    #[error("{doing}: {source}")]
    Api {
        /// What was being done, as a phrase.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// Objects of names that we need exist and are not ours. Nothing is seized.
    #[error("{}", name_conflict::sentence(.conflicts))]
    NameConflict {
        /// The objects that are in the way.
        conflicts: Vec<NameConflict>,
    },
    /// A node refused or did not answer.
    #[error("{doing}: {source}")]
    Node {
        /// What was being done, as a phrase.
        doing: String,
        /// Why it failed.
        #[source]
        source: node_admin::Error,
    },
    /// An object has no JSON or TOML form.
    #[error("cannot render {what}: {message}")]
    Render {
        /// Which object.
        what: &'static str,
        /// Words of the serializer.
        message: String,
    },
    /// A pass took too long.
    #[error("reconcile exceeded {} s while {step}", .within.as_secs())]
    Deadline {
        /// How long it may take.
        within: Duration,
        /// The step that it was in, as a phrase.
        step: String,
    },
}

/// What an error calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Somebody wrote in between: look again soon.
    Conflict,
    /// May pass by itself: try again, less and less often.
    Transient,
    /// Stays until a person changes something.
    Lasting,
    /// The namespace is going away; nothing is left to do.
    NamespaceTerminating,
}

impl Class {
    /// Name in metrics.
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
    /// Names what was being done when the API server failed.
    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source: Box::new(source) }
    }

    /// Names what was being done when a node failed.
    pub(crate) fn node(doing: impl Into<String>) -> impl FnOnce(node_admin::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Node { doing, source }
    }

    /// What the error calls for.
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

    /// The reason of the condition that reports this error.
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
