//! [`EnforceDeadlines`], the layer that answers calls at their deadline. A service normally answers a little before
//! the deadline. In place of a late service, the layer answers with a status of the gateway and ends open streams. The
//! timer of tonic would answer `CANCELLED` without a reason, to unary calls only, and leave streams open.

use super::status::{Problem, Reason};
use futures::future::BoxFuture;
use http::{Extensions, HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tower::{Layer, Service};

/// Maximum timeout of a call; a longer `grpc-timeout` is reduced to this value.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Upper bound of the time reserved for delivery of the answer, because a client reads no answer after the deadline.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(50);
/// Minimum timeout of a call. A call with less time is refused at once, because no read, sync or answer is faster.
const USABLE_TIME_MIN: Duration = Duration::from_millis(1);
/// Path prefixes of the services that report proposals through [`MaybeProposed`]. For other services (administration,
/// frames of peers) the layer cannot know whether a call had an effect, and therefore answers none of their calls.
const SERVICES: [&str; 2] = ["/taffrail.v1.", "/grpc."];
/// Maximum number of digits in `grpc-timeout`, by the gRPC protocol.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// A flag for an append that may be stored without a known outcome: set before a proposal is handed over, cleared after
/// the proposal provably failed. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct MaybeProposed(Arc<AtomicBool>);

impl MaybeProposed {
    /// Sets the flag, before a proposal.
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// Clears the flag, after a proposal provably failed.
    pub(crate) fn rule_out(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
    fn get(&self) -> bool {
        // Relaxed suffices: polls of the same task write and read the flag.
        self.0.load(Ordering::Relaxed)
    }
}

/// The deadline of a call, set by the client. A request extension.
#[derive(Clone, Debug)]
pub(crate) struct CallDeadline {
    /// Latest time for the answer of the service, early enough for arrival at the client before the deadline.
    pub(crate) answer_by: Instant,
    /// Time at which [`EnforceDeadlines`] answers in place of the service.
    end: Instant,
    /// Set by the service, read by [`EnforceDeadlines`].
    pub(crate) maybe_proposed: MaybeProposed,
}

impl CallDeadline {
    fn after(timeout: Duration) -> Self {
        let (now, timeout) = (Instant::now(), timeout.min(TIMEOUT_MAX));
        let reserved = (timeout / 10).min(ANSWER_TIME_MAX);
        Self {
            answer_by: now + (timeout - reserved),
            end: now + (timeout - reserved / 2),
            maybe_proposed: MaybeProposed::default(),
        }
    }

    /// Returns the deadline of a request; `None` if the client set none.
    #[must_use]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// True if the time for the answer of the service has passed.
    #[must_use]
    pub(crate) fn passed(&self) -> bool {
        Instant::now() >= self.answer_by
    }

    fn status(&self) -> Status {
        if self.maybe_proposed.get() {
            let why = "the deadline passed while the append or change was in progress";
            return Problem::new(Reason::OutcomeUnknown, why).with("proposed", "unknown").into();
        }
        Problem::new(Reason::Deadline, "the deadline passed before the answer was ready").into()
    }
}

/// The layer of [`WithDeadlines`].
#[derive(Clone, Debug, Default)]
pub struct EnforceDeadlines;

impl<S> Layer<S> for EnforceDeadlines {
    type Service = WithDeadlines<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithDeadlines { inner }
    }
}

/// A service whose calls end at their deadline.
#[derive(Clone, Debug)]
pub struct WithDeadlines<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for WithDeadlines<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Body + Default + Send + 'static,
{
    type Response = Response<Ending<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let timeout = request.headers().get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse_timeout);
        if timeout.is_some_and(|t| t < USABLE_TIME_MIN) {
            let status: Status = Problem::new(Reason::Deadline, "the deadline passed before the call arrived").into();
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let deadline = timeout
            .map(CallDeadline::after)
            .filter(|_| SERVICES.iter().any(|name| request.uri().path().starts_with(name)));
        let Some(deadline) = deadline else {
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Ending::never)) });
        };
        request.extensions_mut().insert(deadline.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match until(&deadline, answer).await {
                Some(answer) => Ok(answer?.map(|body| Ending::at(&deadline, body))),
                None => Ok(deadline.status().into_http()),
            }
        })
    }
}

/// Returns the output of `work`, or `None` at the end of `deadline`. Every poll reads the clock: tonic sets a timer for
/// the same time, but later, and if the timer of tonic wakes the task first, this function must still end before the
/// answer of tonic.
async fn until<F: Future>(deadline: &CallDeadline, work: F) -> Option<F::Output> {
    let (mut work, mut sleep) = (pin!(work), pin!(sleep_until(deadline.end)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let woken = sleep.as_mut().poll(cx).is_ready();
        if woken || Instant::now() >= deadline.end { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// The body of a response. A body that is still pending at the deadline ends with the status of the deadline.
#[derive(Debug)]
pub struct Ending<R> {
    inner: Pin<Box<R>>,
    deadline: Option<(Pin<Box<Sleep>>, CallDeadline)>,
    /// The status of the deadline has been sent.
    over: bool,
}

impl<R: Default> Default for Ending<R> {
    fn default() -> Self {
        Self::never(R::default())
    }
}

impl<R> Ending<R> {
    fn never(inner: R) -> Self {
        Self { inner: Box::pin(inner), deadline: None, over: false }
    }
    fn at(deadline: &CallDeadline, inner: R) -> Self {
        let timer = Box::pin(sleep_until(deadline.end));
        Self { inner: Box::pin(inner), deadline: Some((timer, deadline.clone())), over: false }
    }
}

impl<R: Body> Body for Ending<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // A ready frame goes first: services end streams a little earlier, with a more precise status.
        if let Poll::Ready(frame) = self.inner.as_mut().poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some((timer, deadline)) = &mut self.deadline else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let (status, mut trailers) = (deadline.status(), HeaderMap::new());
        self.over = true;
        // Message and details of a status of the gateway are valid headers.
        Poll::Ready(status.add_header(&mut trailers).ok().map(|()| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The body can end at any time: only the upper bound holds.
        let mut hint = SizeHint::new();
        match self.inner.size_hint().upper() {
            _ if self.over => hint.set_exact(0),
            Some(most) => hint.set_upper(most),
            None => {}
        }
        hint
    }
}

/// Parses `grpc-timeout`: up to eight digits and a unit. A longer number is invalid and would overflow.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse() {
        assert_eq!(parse_timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "10", "x1S", "10s", "+1S", "100000000n", "18446744073709551615H"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
