//! [`BoundOutflow`], the layer bounding the bytes of all answers under way.
//!
//! HTTP/2 flow control stops a slow reader, but not the server: an encoded message waits in the buffer of the
//! connection, and further messages wait behind. Thousands of slow readers would exhaust the memory.
//!
//! A [`Permit`] counts a page of events from before the page is read until the connection has sent the page. The bytes are
//! in two halves, to leave room beside stalled readers:
//!
//! - Whole pages, also a few pages ahead of the reader, come from the first half, as long as the half lasts.
//! - Otherwise a reader gets a small page, from the second half, and only once nothing else is under way to the reader.
//!   The small pages are given out in the order of the requests.

use super::{
    cursor::PAGE,
    inflow::BOUNDED,
    status::{Problem, Reason},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use http::{Extensions, Request, Response};
use hyper::body::{Frame, SizeHint};
use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

/// Size of a small page, in bytes: room for many readers, while the cost of a page stays small beside the content.
const SMALL_PAGE: usize = 64 << 10;
/// Longest wait for a small page while the readers before take none.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The layer of [`WithAnswers`]. Clones share the bound.
#[derive(Clone, Debug)]
pub struct BoundOutflow {
    /// For whole pages, and for pages ahead of the reader.
    ahead: Arc<Semaphore>,
    /// For the only page under way to a reader.
    only: Arc<Semaphore>,
    /// Bytes of each semaphore.
    half: usize,
}

impl BoundOutflow {
    /// Creates a layer with a bound of `max` bytes under way.
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        let half = (max / 2).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { ahead: Arc::new(Semaphore::new(half)), only: Arc::new(Semaphore::new(half)), half }
    }

    /// Returns the bytes under way.
    pub(crate) fn used(&self) -> usize {
        2 * self.half - self.ahead.available_permits() - self.only.available_permits()
    }
}

impl<S> Layer<S> for BoundOutflow {
    type Service = WithAnswers<S>;
    fn layer(&self, inner: S) -> Self::Service {
        WithAnswers { inner, pool: self.clone() }
    }
}

/// A service whose answers count against a shared bound.
#[derive(Clone, Debug)]
pub struct WithAnswers<S> {
    inner: S,
    pool: BoundOutflow,
}

impl<S> Service<Request<Body>> for WithAnswers<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
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
        let answers = Answers::new(self.pool.clone());
        let encoding = Arc::clone(&answers.encoding);
        request.extensions_mut().insert(answers);
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(answer.await?.map(|inner| Body::new(Counted { inner, encoding }))) })
    }
}

/// Permits of the messages in the frame under encoding.
type Encoding = Arc<Mutex<Vec<Permit>>>;

fn lock(encoding: &Encoding) -> MutexGuard<'_, Vec<Permit>> {
    encoding.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answers to a call. A request extension; clones belong to the same call.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pool: BoundOutflow,
    encoding: Encoding,
    /// Number of permits in use.
    under_way: Arc<watch::Sender<usize>>,
}

/// A message in the queue to the encoder, with the permit of a page.
pub(crate) type Queued<T> = (Result<T, Status>, Option<Permit>);

impl Answers {
    fn new(pool: BoundOutflow) -> Self {
        Self { pool, encoding: Encoding::default(), under_way: Arc::new(watch::channel(0).0) }
    }

    /// Returns the answers of a request; without a bound if the request has not passed the layer.
    #[must_use]
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self::new(BoundOutflow::new(usize::MAX)))
    }

    /// Waits until a further page may be fetched: whole pages are left, or nothing is under way to the reader.
    pub(crate) async fn ready(&self) {
        if self.pool.ahead.available_permits() < PAGE.bytes_max {
            self.wait_until_idle().await;
        }
    }

    /// Waits until nothing is under way to the reader. The wait ends at the latest when the connection breaks.
    async fn wait_until_idle(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        drop(self.under_way.subscribe().wait_for(|permits| *permits == 0).await);
    }

    /// Takes a permit for a page: for `bytes` bytes if given, else for a whole or a small page. The caller holds no
    /// other permit in hand.
    ///
    /// # Errors
    /// `OVERLOADED` if the answers to other readers use all the memory for [`WAIT_MAX`].
    pub(crate) async fn permit(&self, bytes: Option<usize>) -> Result<Permit, Problem> {
        let whole = self.pool.permits(bytes.unwrap_or(PAGE.bytes_max));
        if let Ok(permit) = Arc::clone(&self.pool.ahead).try_acquire_many_owned(whole) {
            return Ok(self.counted(permit));
        }
        self.wait_until_idle().await;
        let small = self.pool.permits(bytes.unwrap_or(SMALL_PAGE));
        match timeout(WAIT_MAX, Arc::clone(&self.pool.only).acquire_many_owned(small)).await {
            Ok(Ok(permit)) => Ok(self.counted(permit)),
            Ok(Err(_)) | Err(_) => {
                let why =
                    "the answers to slow readers use all the memory for answers of this node; retry after a pause";
                Err(Problem::new(Reason::Overloaded, why).with("bytes_max", 2 * self.pool.half))
            }
        }
    }

    fn counted(&self, bytes: OwnedSemaphorePermit) -> Permit {
        self.under_way.send_modify(|permits| *permits += 1);
        Permit { bytes, max: self.pool.half, under_way: Arc::clone(&self.under_way) }
    }

    /// Gives the permit of the next message to the frame of the message.
    pub(crate) fn encode(&self, permit: Option<Permit>) {
        lock(&self.encoding).extend(permit);
    }

    /// Returns the messages of a queue for the encoder. The permit of a message goes into the frame of the message.
    pub(crate) fn stream<T>(&self, queue: mpsc::Receiver<Queued<T>>) -> impl Stream<Item = Result<T, Status>> + use<T> {
        let encoding = Arc::clone(&self.encoding);
        ReceiverStream::new(queue).map(move |(message, permit)| {
            lock(&encoding).extend(permit);
            message
        })
    }
}

impl BoundOutflow {
    /// Returns the permits for so many bytes; a larger page takes a whole half.
    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.clamp(1, self.half)).unwrap_or(u32::MAX)
    }
}

/// Counts the bytes of a page until the value is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    bytes: OwnedSemaphorePermit,
    /// Bytes of the semaphore.
    max: usize,
    under_way: Arc<watch::Sender<usize>>,
}

impl Permit {
    /// Returns the bytes of events to read for a page: an eighth is left for the encoding of the events.
    #[must_use]
    pub(crate) fn page_bytes(&self) -> usize {
        self.bytes.num_permits() / 8 * 7
    }

    /// Changes the permit to the size of the page that was read. Returns false if the page is larger and the memory is in
    /// use; the caller then drops the page and asks for a permit of its size.
    #[must_use]
    pub(crate) fn fit(&mut self, bytes: usize) -> bool {
        let (held, wanted) = (self.bytes.num_permits(), bytes.min(self.max));
        if wanted <= held {
            drop(self.bytes.split(held - wanted));
            return true;
        }
        let more = u32::try_from(wanted - held).unwrap_or(u32::MAX);
        match Arc::clone(self.bytes.semaphore()).try_acquire_many_owned(more) {
            Ok(more) => self.bytes.merge(more),
            Err(_) => return false,
        }
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.under_way.send_modify(|permits| *permits -= 1);
    }
}

/// A frame with the permits of its messages. The connection drops the frame after the last byte was sent.
struct CountedBytes {
    bytes: Bytes,
    _permits: Vec<Permit>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A response body whose frames keep the permits of their messages.
#[derive(Debug)]
struct Counted {
    inner: Body,
    encoding: Encoding,
}

impl Counted {
    /// The encoder never splits a message: every message taken from the queue so far is in this or an earlier frame.
    fn count(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(trailers) => return trailers,
        };
        let permits = mem::take(&mut *lock(&self.encoding));
        if permits.is_empty() {
            return Frame::data(bytes);
        }
        Frame::data(Bytes::from_owner(CountedBytes { bytes, _permits: permits }))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // A message without a frame, after a failed encoding. The task reading pages would wait for the permit for ever.
        lock(&self.encoding).clear();
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.count(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
