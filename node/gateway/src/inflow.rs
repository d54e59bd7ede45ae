//! Bytes of calls that are under way. A message is gathered in memory before a service sees it, and a connection may carry
//! thousands of calls: without a bound over all of them, clients that send large messages slowly would take all memory.
//! None may take for ever to arrive. A call that brings the sum above the bound is refused; nothing waits, so that nobody can keep the others waiting.

use super::status::{Problem, Reason};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// How long a message may take to arrive, however late its call's deadline is: the largest one at 1 MiB a second. A client
/// that never sends the rest would hold its share for ever.
const GATHER_MAX: Duration = Duration::from_secs(40);
/// Only these carry what clients choose; peers' frames have bounds of their own and must not be refused for clients' sake.
const OURS: &str = "/taffrail.v1.";

/// See the module. Clones share one sum.
#[derive(Clone, Debug)]
pub struct BoundInflow {
    used: Arc<AtomicUsize>,
    max: usize,
}

impl BoundInflow {
    /// At most so many bytes at a time.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }
}

impl<S> Layer<S> for BoundInflow {
    type Service = WithBound<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithBound { inner, bound: self.clone() }
    }
}

/// See `BoundInflow`.
#[derive(Clone, Debug)]
pub struct WithBound<S> {
    inner: S,
    bound: BoundInflow,
}

impl<S> Service<Request<Body>> for WithBound<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(OURS) {
            return Box::pin(self.inner.call(request));
        }
        let share = Arc::new(Share { bound: self.bound.clone(), bytes: AtomicUsize::new(0) });
        let body = Arc::clone(&share);
        let answer = self.inner.call(request.map(|inner| Body::new(Measured::new(inner, body))));
        Box::pin(async move {
            let answer = answer.await;
            // The message lives as long as the call does, though its body has been read to the end long before.
            drop(share);
            answer
        })
    }
}

/// What one call holds of the sum; given back when it ends.
#[derive(Debug)]
struct Share {
    bound: BoundInflow,
    bytes: AtomicUsize,
}

impl Share {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let used = self.bound.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.bound.max {
            return Ok(());
        }
        let why = "the calls that are under way hold too much memory; nothing was proposed";
        Err(Problem::new(Reason::Overloaded, why).with("bytes_max", self.bound.max).into())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bound.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A request body that counts.
#[derive(Debug)]
struct Measured {
    inner: Body,
    share: Arc<Share>,
    end: Pin<Box<Sleep>>,
}

impl Measured {
    fn new(inner: Body, share: Arc<Share>) -> Self {
        Self { inner, share, end: Box::pin(sleep(GATHER_MAX)) }
    }
}

impl hyper::body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            return self.end.as_mut().poll(cx).map(|()| {
                let why = format!("the message was not there after {} s; nothing was proposed", GATHER_MAX.as_secs());
                Some(Err(Problem::new(Reason::Deadline, why).into()))
            });
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.share.take(data.len())?;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
