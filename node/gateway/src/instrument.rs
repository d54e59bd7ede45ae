//! Instrumentation of the calls of `taffrail.v1`: a counter, a timer and a span for each call.

use super::{Shared, deadlines::CallDeadline, forward};
use std::future::Future;
use taffrail_client::REQUEST_ID;
use taffrail_core::names::StoreName;
use taffrail_metrics::Metrics;
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument, Span, field};

impl Shared {
    /// Runs `call` within a span, and counts and times the call. Every log line within the span carries the request id,
    /// and the store after [`record_store`].
    ///
    /// # Errors
    /// The error of `call`.
    pub(crate) async fn instrumented<M, T, F>(
        &self,
        method: &'static str,
        mut request: Request<M>,
        call: impl FnOnce(Request<M>) -> F,
    ) -> Result<Response<T>, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let request_id = forward::request_id(request.metadata());
        // A forwarded call keeps the request id.
        if let Ok(value) = request_id.parse() {
            request.metadata_mut().insert(REQUEST_ID, value);
        }
        let limit = CallDeadline::of(request.extensions()).cloned();
        let counted = Counted { metrics: &self.metrics, method, limit, code: None };
        let span = tracing::info_span!("call", method, request_id, store = field::Empty);
        // A cancelled call is timed too: the timer reports on drop.
        let timer = self.metrics.call_seconds.with_label_values(&[method]).start_timer();
        let answer = async { call(request).await }.instrument(span).await;
        timer.observe_duration();
        counted.ended(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }
}

/// Counts a call on drop, also if the call is cancelled.
struct Counted<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    limit: Option<CallDeadline>,
    code: Option<Code>,
}

impl Counted<'_> {
    fn ended(mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Dropped without a response: the deadline passed, or the client has left.
        let code = self.code.unwrap_or_else(|| match &self.limit {
            Some(limit) if limit.passed() => Code::DeadlineExceeded,
            Some(_) | None => Code::Cancelled,
        });
        self.metrics.calls.with_label_values(&[self.method, &format!("{code:?}")]).inc();
    }
}

/// Records the store in the span of the current call.
pub fn record_store(store: &StoreName) {
    Span::current().record("store", field::display(store));
}
