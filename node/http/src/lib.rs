//! Port 9090: `/metrics`, `/livez`, `/readyz`. Liveness says only that the event loop turns; readiness says whether this
//! node can serve, and why not.

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, fmt, sync::Arc, time::Duration};
use taffrail_runtime as rt;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one connection may last. A client that asks and does not read must not hold a slot for ever: probes need one,
/// and a probe that finds none restarts the pod.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Pause after a failed accept: out of file descriptors, the next one fails at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether this node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Opening its databases.
    Starting,
    /// Blank: nobody told it its cluster yet.
    WaitingForCluster,
    /// Knows its cluster, has no node id yet.
    Joining,
    /// The start barrier: groups that have a leader have not applied up to its commit index yet.
    CatchingUp {
        /// How many.
        groups: usize,
    },
    /// Must not serve.
    Fenced {
        /// Why.
        reason: String,
    },
    /// Told to stop.
    ShuttingDown,
    /// Serves.
    Ready,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::WaitingForCluster => f.write_str("waiting to be told its cluster"),
            Self::Joining => f.write_str("joining: no node id yet"),
            Self::CatchingUp { groups } => write!(f, "catching up: {groups} groups"),
            Self::Fenced { reason } => write!(f, "fenced: {reason}"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::Ready => f.write_str("ok"),
        }
    }
}

/// Renders the metrics at a scrape.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves connections of `listener` until `stop`.
pub async fn serve(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    render: Render,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an http connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (readiness, render, stop) = (readiness.clone(), Arc::clone(&render), stop.clone());
        rt::spawn(async move {
            let _slot = slot;
            let service = service_fn(move |request| {
                let answer = answer(&request, &readiness, &render);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = tokio::time::timeout(CONNECTION_TIME, connection) => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "http connection ended"),
                    Err(_) => tracing::debug!("an http connection lasted too long"),
                },
            }
        });
    }
}

fn answer<B>(request: &Request<B>, readiness: &watch::Receiver<Readiness>, render: &Render) -> Response<Full<Bytes>> {
    let (status, kind, body) = match request.uri().path() {
        "/metrics" => (StatusCode::OK, "text/plain; version=0.0.4", render()),
        "/livez" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        "/readyz" => {
            let now = readiness.borrow().clone();
            let status = if now == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, "text/plain", format!("{now}\n"))
        }
        _ => (StatusCode::NOT_FOUND, "text/plain", "paths: /metrics /livez /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
