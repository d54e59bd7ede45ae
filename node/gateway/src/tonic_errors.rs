//! Names what tonic itself refuses before a service sees the call: messages that do not decode (a text that is no UTF-8,
//! say) and messages above the size limit. They get the code and the reason that our own checks would give.

use super::status::{Problem, Reason};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::task::{Context, Poll};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Begins the text of every decoding error.
const NO_DECODE: &str = "failed to decode Protobuf message";
/// Stands in the text of every size error.
const TOO_LARGE: &str = "message length too large";

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct AddReasons;

impl<S> Layer<S> for AddReasons {
    type Service = WithReasons<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithReasons { inner }
    }
}

/// See `AddReasons`.
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
            let named = Status::from_header_map(answer.headers()).and_then(|status| named(&status));
            Ok(named.map_or(answer, |status| status.into_http()))
        })
    }
}

/// The status with its reason, if it is one of tonic's own refusals.
fn named(status: &Status) -> Option<Status> {
    let message = status.message();
    let problem = match status.code() {
        Code::Internal if message.starts_with(NO_DECODE) => {
            let detail = message.trim_start_matches(NO_DECODE).trim_start_matches(':').trim();
            // The deepest message and field come first: `NewEvent.r#type: AppendRequest.events: invalid string value: ...`.
            let (path, rule) = split(detail);
            // `type` is a word of Rust's own, which prost spells `r#type`; the wire knows it as `type`.
            Problem::new(Reason::InvalidArgument, message).with("field", path.replace("r#", "")).with("rule", rule)
        }
        Code::OutOfRange if message.contains(TOO_LARGE) => {
            // Only appends carry anything of that size.
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

/// Cuts `C.d: A.b: rule` into the innermost `C.d` and the rule.
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
        let status = named(&Status::internal(text)).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["field"], "NewEvent.type");
        assert_eq!(info.metadata["rule"], "invalid string value: data is not UTF-8 encoded");
    }

    #[test]
    fn other_errors_are_left_alone() {
        assert!(named(&Status::internal("disk")).is_none());
        assert!(named(&Status::out_of_range("page")).is_none());
        assert!(named(&Status::out_of_range(format!("Error, decoded {TOO_LARGE}: found 9 bytes"))).is_some());
    }
}
