//! Failures of commands: one sentence for a person, one exit code for a script.

use std::io;
use taffrail_client::{Error, Rejection};
use taffrail_proto::reason::Reason;

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The flags or the input break a rule.
    #[error("{0}")]
    Usage(String),
    /// A call of the client failed.
    #[error(transparent)]
    Client(#[from] Error),
    /// The command refused to act; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// No node answered in time.
    #[error("{0}")]
    Unavailable(String),
    /// A file, the terminal or another resource of this machine failed.
    #[error("{0}")]
    Local(String),
    /// The reader of the output closed the pipe, as `head` does. The exit code is 0, and nothing is printed.
    #[error("the reader of the output closed the pipe")]
    OutputClosed,
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Local(e.to_string()) }
    }
}

impl Failure {
    /// Returns the exit code, as listed at [`super::run`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Local(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unavailable(_) => 5,
            Self::Client(error) => match error {
                Error::Failed(_) => 1,
                Error::InvalidEndpoint { .. } => 2,
                Error::Invalid { .. } | Error::Rejected(_) => 3,
                Error::NotFound { .. } => 4,
                Error::Unavailable { .. } | Error::Deadline { .. } => 5,
                Error::OutcomeUnknown { .. } => 6,
                Error::Denied { .. } => 7,
            },
        }
    }

    /// Returns the lines for stderr: the error, similar names, the stable reason and its remedy.
    /// `None` for [`Failure::OutputClosed`].
    #[must_use]
    pub fn report(&self) -> Option<String> {
        if matches!(self, Self::OutputClosed) {
            return None;
        }
        let mut text = format!("error: {self}");
        let Self::Client(error) = self else { return Some(text) };
        if let Error::NotFound { nearest, .. } = error
            && !nearest.is_empty()
        {
            text.push_str(&format!("\nnearest: {}", nearest.join(", ")));
        }
        if let Some(name) = reason(error) {
            text.push_str(&format!("\nreason: {name}"));
            if let Some(reason) = Reason::ALL.iter().find(|r| r.as_str() == name) {
                text.push_str(&format!("\nremedy: {}", reason.remedy()));
            }
        }
        Some(text)
    }
}

/// Returns the stable reason of an error, as listed in `docs/ERRORS.md`, or `None` for an error without a reason.
#[must_use]
pub fn reason(error: &Error) -> Option<&str> {
    let reason = match error {
        Error::Invalid { reason, .. } => reason.as_deref(),
        Error::Rejected(Rejection::WrongRevision { .. }) => Some(Reason::WrongRevision.as_str()),
        Error::Rejected(Rejection::Other { reason, .. })
        | Error::NotFound { reason, .. }
        | Error::Unavailable { reason, .. } => Some(reason.as_str()),
        Error::OutcomeUnknown { .. } => Some(Reason::OutcomeUnknown.as_str()),
        Error::Deadline { .. } => Some(Reason::Deadline.as_str()),
        Error::InvalidEndpoint { .. } | Error::Denied { .. } | Error::Failed(_) => None,
    };
    reason.filter(|r| !r.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_client::{Actual, Proposed};

    fn code(error: Error) -> u8 {
        Failure::Client(error).exit_code()
    }

    #[test]
    fn each_class_has_its_exit_code() {
        let wrong = Rejection::WrongRevision { stream: "s".into(), expected: "1".into(), actual: Actual::At(2) };
        assert_eq!(code(Error::Rejected(wrong)), 3);
        assert_eq!(code(Error::NotFound { reason: String::new(), message: "m".into(), nearest: vec![] }), 4);
        let unavailable = Error::Unavailable {
            reason: "NO_LEADER".into(),
            message: "m".into(),
            proposed: Proposed::No,
            leader: None,
            retry_after: None,
        };
        assert_eq!(code(unavailable), 5);
        assert_eq!(code(Error::OutcomeUnknown { message: "m".into() }), 6);
        assert_eq!(code(Error::Denied { message: "m".into() }), 7);
        assert_eq!(Failure::Usage("x".into()).exit_code(), 2);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
    }

    #[test]
    fn a_report_names_reason_and_remedy() {
        let wrong = Rejection::WrongRevision { stream: "s".into(), expected: "1".into(), actual: Actual::At(2) };
        let text = Failure::Client(Error::Rejected(wrong)).report().unwrap();
        assert!(text.starts_with("error: stream s is at 2, expected 1\nreason: WRONG_REVISION\nremedy: "), "{text}");
        assert_eq!(Failure::OutputClosed.report(), None);
    }
}
