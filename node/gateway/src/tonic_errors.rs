//! [`AddReasons`], the layer that adds reasons to errors which tonic returns before the service is called: a decoding
//! error (a string with invalid UTF-8, for example) and a message above the size limit. The layer replaces the status
//! by a status with the code and reason of the gateway for the same fault.

use super::status::{Problem, Reason};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::task::{Context, Poll};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Start of the text of every decoding error of tonic.
const NO_DECODE: &str = "failed to decode Protobuf message";
/// Part of the text of every size error of tonic.
const TOO_LARGE: &str = "message length too large";

/// The layer of [`WithReasons`].
#[derive(Clone, Debug, Default)]
pub struct AddReasons;

impl<S> Layer<S> for AddReasons {
    type Service = WithReasons<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithReasons { inner }
    }
}

/// A service with reasons for the errors of tonic.
#[derive(Clone, Debug)]
pub struct WithReasons<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for WithReasons<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let explained = Status::from_header_map(answer.headers()).and_then(|status| with_reason(&status));
            Ok(explained.map_or(answer, |status| status.into_http()))
        })
    }
}

/// Returns the replacement for a decoding or size error of tonic, and `None` for any other status.
fn with_reason(status: &Status) -> Option<Status> {
    let message = status.message();
    let problem = match status.code() {
        Code::Internal if message.starts_with(NO_DECODE) => {
            let detail = message.trim_start_matches(NO_DECODE).trim_start_matches(':').trim();
            // The deepest message and field come first: `NewEvent.r#type: AppendRequest.events: invalid string value:
            // ...`.
            let (path, rule) = split(detail);
            // prost names the wire field `type`, a keyword of Rust, `r#type`.
            Problem::new(Reason::InvalidArgument, message).with("field", path.replace("r#", "")).with("rule", rule)
        }
        Code::OutOfRange if message.contains(TOO_LARGE) => {
            // Only an append can exceed the size limit.
            Problem::new(Reason::BatchTooLarge, message).with("field", "events").with("rule", message)
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => return None,
    };
    Some(problem.into())
}

/// Splits `C.d: A.b: rule` into the innermost path `C.d` and the rule.
fn split(detail: &str) -> (&str, &str) {
    let (mut path, mut rest) = (None, detail);
    while let Some((head, tail)) = rest.split_once(": ") {
        if head.contains(' ') || !head.contains('.') {
            break;
        }
        path = path.or(Some(head));
        rest = tail;
    }
    (path.unwrap_or("message"), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    #[test]
    fn a_decoding_error_names_the_innermost_field() {
        let text = format!(
            "{NO_DECODE}: NewEvent.r#type: AppendRequest.events: invalid string value: data is not UTF-8 encoded"
        );
        let status = with_reason(&Status::internal(text)).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["field"], "NewEvent.type");
        assert_eq!(info.metadata["rule"], "invalid string value: data is not UTF-8 encoded");
    }

    #[test]
    fn other_errors_are_left_alone() {
        assert!(with_reason(&Status::internal("disk")).is_none());
        assert!(with_reason(&Status::out_of_range("page")).is_none());
        assert!(with_reason(&Status::out_of_range(format!("Error, decoded {TOO_LARGE}: found 9 bytes"))).is_some());
    }
}
