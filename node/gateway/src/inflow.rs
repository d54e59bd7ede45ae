//! [`BoundInflow`], the layer that bounds the bytes of all requests in flight.
//!
//! tonic collects a whole message in memory before calling the service, and a connection may carry thousands of calls.
//! Without a bound over all calls, large messages sent slowly would exhaust the memory. A call above the bound is
//! refused at once, because a waiting call could block further calls. The arrival of a message has a time limit.
//!
//! The bytes count until the last holder of the payload is done: the call, or a queued append whose
//! caller has gone ([`RequestMemory`]).
//!
//! The layer also keeps the encoded request for the duration of the call, for [`forward`](super::forward).

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
use taffrail_proto::codec;
use taffrail_store_api::RequestMemory;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Time limit for the arrival of a message, independent of the deadline of the call: the largest message at 1 MiB/s.
/// Without a limit, a client that never completes a message would hold a share of the bound for ever.
const ARRIVAL_MAX: Duration = Duration::from_secs(40);
/// Path of the bounded services. Frames of peers have separate bounds; load from clients must not cause their refusal.
pub(crate) const BOUNDED: &str = "/taffrail.v1.";

/// The layer of [`WithBound`]. Clones share the bound.
#[derive(Clone, Debug)]
pub struct BoundInflow {
    used: Arc<AtomicUsize>,
    max: usize,
}

impl BoundInflow {
    /// Creates a layer with a bound of `max` bytes in flight.
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    /// Returns the bytes in flight.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl<S> Layer<S> for BoundInflow {
    type Service = WithBound<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithBound { inner, bound: self.clone() }
    }
}

/// A service whose requests count against a shared bound.
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !request.uri().path().starts_with(BOUNDED) {
            return Box::pin(self.inner.call(request));
        }
        let share = Arc::new(Share { bound: self.bound.clone(), bytes: AtomicUsize::new(0) });
        request.extensions_mut().insert(Arc::clone(&share) as RequestMemory);
        let body = Arc::clone(&share);
        let answer = self.inner.call(request.map(|inner| Body::new(Measured::new(inner, body))));
        Box::pin(async move {
            let answer = codec::with_received(answer).await;
            // The decoded message stays in memory until the call ends, long after the end of the body.
            drop(share);
            answer
        })
    }
}

/// The bytes of a request, returned to the bound after the last holder of the payload.
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
        let why = "the requests in flight exceed the memory bound of this node; nothing was proposed";
        Err(Problem::new(Reason::Overloaded, why).with("bytes_max", self.bound.max).into())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bound.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A request body that counts each frame in a [`Share`].
#[derive(Debug)]
struct Measured {
    inner: Body,
    share: Arc<Share>,
    end: Pin<Box<Sleep>>,
}

impl Measured {
    fn new(inner: Body, share: Arc<Share>) -> Self {
        Self { inner, share, end: Box::pin(sleep(ARRIVAL_MAX)) }
    }
}

impl hyper::body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            return self.end.as_mut().poll(cx).map(|()| {
                let why = format!("the message is incomplete after {} s; nothing was proposed", ARRIVAL_MAX.as_secs());
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::convert::Infallible;
    use tonic::Code;
    use tonic_types::StatusExt;
    use tower::ServiceExt;

    const APPEND: &str = "/taffrail.v1.Streams/Append";

    /// Collects the message, as tonic does before calling a service.
    async fn gather(request: Request<Body>) -> Result<Response<Body>, Status> {
        request.into_body().collect().await?;
        Ok(Response::new(Body::empty()))
    }

    fn whole(path: &str, bytes: usize) -> Request<Body> {
        Request::post(path).body(Body::new(Full::new(Bytes::from(vec![0; bytes])))).unwrap()
    }

    /// Creates a request with a message of unknown length, stuck after `bytes`.
    fn stuck(bytes: usize) -> Request<Body> {
        let begun = futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; bytes])))]);
        Request::post(APPEND).body(Body::new(StreamBody::new(begun.chain(futures::stream::pending())))).unwrap()
    }

    #[tokio::test]
    async fn a_call_beyond_the_bound_is_refused_and_gives_back_what_it_took() {
        let mut service = BoundInflow::new(1000).layer(tower::service_fn(gather));
        // This call holds 600 bytes until the drop below.
        let mut slow = service.ready().await.unwrap().call(stuck(600));
        assert!(futures::poll!(&mut slow).is_pending());
        service.clone().oneshot(whole(APPEND, 400)).await.unwrap();
        for _ in 0..3 {
            let status = service.clone().oneshot(whole(APPEND, 401)).await.unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
            assert!(status.get_details_retry_info().is_some());
        }
        service
            .clone()
            .oneshot(whole("/taffrail.peer.v1.Peer/Call", 5000))
            .await
            .expect("frames of peers do not count");
        drop(slow);
        service.clone().oneshot(whole(APPEND, 1000)).await.unwrap();
    }

    #[tokio::test]
    async fn a_message_counts_until_its_call_has_ended() {
        let held = tower::service_fn(|request: Request<Body>| async {
            gather(request).await?;
            std::future::pending::<Result<Response<Body>, Status>>().await
        });
        let mut service = BoundInflow::new(1000).layer(held);
        let mut first = service.ready().await.unwrap().call(whole(APPEND, 600));
        assert!(futures::poll!(&mut first).is_pending());
        let status = service.clone().oneshot(whole(APPEND, 500)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        drop(first);
        let mut next = service.ready().await.unwrap().call(whole(APPEND, 500));
        assert!(futures::poll!(&mut next).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_never_ends_is_given_up_and_gives_back_what_it_took() {
        let service = BoundInflow::new(1000).layer(tower::service_fn(gather));
        let status = service.clone().oneshot(stuck(600)).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE");
        service.oneshot(whole(APPEND, 1000)).await.unwrap();
    }
}
