//! The deadline of a call, from the moment it arrives. The services answer a little before it; this layer answers for those
//! that have not, and ends streams that go on, so that the last word is always ours and has a reason. tonic's own timer
//! would say CANCELLED without one, to unary calls only, and would leave streams open.

use super::{
    forward::parse_timeout,
    status::{Problem, Reason},
};
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

/// The longest deadline that is kept.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);
/// Part of a client's time that is kept for the answer: one that comes when the client has just left says nothing.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(50);
/// Nothing is read, synced or answered in less: a call with less time left has none.
const USABLE_TIME_MIN: Duration = Duration::from_millis(1);
/// Calls whose every change goes through `Proposing`. Of others (the operator's, peers' frames) this layer could not say
/// that nothing was done.
const OURS: [&str; 2] = ["/taffrail.v1.", "/grpc."];

/// Whether the answer of a call may have to be "unknown": true from the moment that something was handed over which may
/// become an entry of the log, until it is known that it did not.
#[derive(Clone, Debug, Default)]
pub struct Proposing(Arc<AtomicBool>);

impl Proposing {
    /// Something may be proposed from now on.
    pub fn begins(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// It is known that nothing was.
    pub fn was_not(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
    fn may_be(&self) -> bool {
        // Written and read by polls of one and the same task.
        self.0.load(Ordering::Relaxed)
    }
}

/// The time that a client gave its call.
#[derive(Clone, Debug)]
pub struct Limit {
    /// When the service must answer: early enough for the answer to arrive in time.
    pub answer_by: Instant,
    /// When this layer answers instead.
    end: Instant,
    /// Set by the services.
    pub proposing: Proposing,
}

impl Limit {
    fn of(timeout: Duration) -> Self {
        let (now, timeout) = (Instant::now(), timeout.min(DEADLINE_MAX));
        let kept = (timeout / 10).min(ANSWER_TIME_MAX);
        Self { answer_by: now + (timeout - kept), end: now + (timeout - kept / 2), proposing: Proposing::default() }
    }

    /// That of a call; `None` if its client set no deadline.
    #[must_use]
    pub fn asked(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The time is over.
    #[must_use]
    pub fn passed(&self) -> bool {
        Instant::now() >= self.answer_by
    }

    fn status(&self) -> Status {
        if self.proposing.may_be() {
            let why = "the deadline passed while the append was under way";
            return Problem::new(Reason::OutcomeUnknown, why).with("proposed", "unknown").into();
        }
        Problem::new(Reason::Deadline, "the deadline passed before the answer was there").into()
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct KeepDeadlines;

impl<S> Layer<S> for KeepDeadlines {
    type Service = WithDeadlines<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithDeadlines { inner }
    }
}

/// See `KeepDeadlines`.
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
        let limit = timeout.map(Limit::of).filter(|_| OURS.iter().any(|name| request.uri().path().starts_with(name)));
        let Some(limit) = limit else {
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Ending::never)) });
        };
        request.extensions_mut().insert(limit.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            match until(&limit, answer).await {
                Some(answer) => Ok(answer?.map(|body| Ending::at(&limit, body))),
                None => Ok(limit.status().into_http()),
            }
        })
    }
}

/// The output of `work`, or `None` at the end of the time. The clock is read at every poll: when tonic's timer, which is set
/// after this one, wakes the task, this one must have the first word even if its own timer has not fired yet.
async fn until<F: Future>(limit: &Limit, work: F) -> Option<F::Output> {
    let (mut work, mut sleep) = (pin!(work), pin!(sleep_until(limit.end)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let woken = sleep.as_mut().poll(cx).is_ready();
        if woken || Instant::now() >= limit.end { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// The body of an answer, which ends with the deadline's status when it has nothing to say at that time.
#[derive(Debug)]
pub struct Ending<R> {
    inner: Pin<Box<R>>,
    left: Option<(Pin<Box<Sleep>>, Limit)>,
    over: bool,
}

impl<R: Default> Default for Ending<R> {
    fn default() -> Self {
        Self::never(R::default())
    }
}

impl<R> Ending<R> {
    fn never(inner: R) -> Self {
        Self { inner: Box::pin(inner), left: None, over: false }
    }
    fn at(limit: &Limit, inner: R) -> Self {
        Self { inner: Box::pin(inner), left: Some((Box::pin(sleep_until(limit.end)), limit.clone())), over: false }
    }
}

impl<R: Body> Body for Ending<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        // What is there already goes first: the service ends its streams itself, a little earlier and with more to say.
        if let Poll::Ready(frame) = self.inner.as_mut().poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some((sleep, limit)) = &mut self.left else { return Poll::Pending };
        ready!(sleep.as_mut().poll(cx));
        let (status, mut trailers) = (limit.status(), HeaderMap::new());
        self.over = true;
        // Of a status of ours the message and the details are valid headers.
        Poll::Ready(status.add_header(&mut trailers).ok().map(|()| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Cut short at any time: only the upper bound holds.
        let mut hint = SizeHint::new();
        match self.inner.size_hint().upper() {
            _ if self.over => hint.set_exact(0),
            Some(most) => hint.set_upper(most),
            None => {}
        }
        hint
    }
}
