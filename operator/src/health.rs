//! Metrics and probes over HTTP. Liveness is "the runtime turns", never the API server's health; readiness says whether
//! the kinds are served and the caches are filled.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The heart beats this often ...
const BEAT: Duration = Duration::from_secs(1);
/// ... and is missed after this long.
const BEAT_MISSED: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: usize = 64;

/// What the probes report.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    beat_ms: AtomicU64,
    waiting: AtomicUsize,
    kinds_served: AtomicUsize,
    metrics: Metrics,
}

impl Health {
    /// Alive, and not ready until the kinds are served and `caches` caches have reported.
    pub fn new(metrics: Metrics, caches: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                beat_ms: AtomicU64::new(0),
                waiting: AtomicUsize::new(caches),
                kinds_served: AtomicUsize::new(0),
                metrics,
            }),
        }
    }

    /// The API server serves both kinds.
    pub fn kinds_served(&self) {
        self.inner.kinds_served.store(1, Ordering::Relaxed);
        self.inner.metrics.crds_found();
    }

    /// One more cache is filled.
    pub fn cache_filled(&self) {
        let less = |waiting: usize| Some(waiting.saturating_sub(1));
        let _before = self.inner.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Beats until stopped: proof that the runtime still schedules tasks.
    pub async fn beat(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let elapsed = u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.inner.beat_ms.store(elapsed, Ordering::Relaxed);
        }
    }

    fn alive(&self) -> Result<(), String> {
        let last = Duration::from_millis(self.inner.beat_ms.load(Ordering::Relaxed));
        let silent = self.inner.started.elapsed().saturating_sub(last);
        if silent > BEAT_MISSED { Err(format!("no heartbeat for {} s", silent.as_secs())) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), String> {
        if self.inner.kinds_served.load(Ordering::Relaxed) == 0 {
            return Err(
                "waiting for the API server to serve taffrail.io/v1alpha1; install the chart taffrail-crds".to_owned()
            );
        }
        match self.inner.waiting.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(format!("filling {n} caches")),
        }
    }

    fn answer(&self, path: &str) -> (StatusCode, Vec<u8>) {
        let verdict = |result: Result<(), String>| match result {
            Ok(()) => (StatusCode::OK, b"ok\n".to_vec()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n").into_bytes()),
        };
        match path {
            "/livez" => verdict(self.alive()),
            "/readyz" => verdict(self.ready()),
            "/metrics" => match self.inner.metrics.text() {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
            },
            _ => (StatusCode::NOT_FOUND, b"try /metrics, /livez or /readyz\n".to_vec()),
        }
    }

    /// Opens the port. Where the kernel has no IPv6, the same port of IPv4 is taken.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
        match TcpListener::bind(address).await {
            Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            result => result,
        }
    }

    /// Serves until stopped.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a probe connection was not accepted");
                    continue;
                }
            };
            let health = self.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, body) = health.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                let text = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(hyper::header::CONTENT_TYPE, text);
                async move { Ok::<_, Infallible>(response) }
            });
            let stop = stop.clone();
            let answering = async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(hyper_util::rt::TokioTimer::new())
                    .header_read_timeout(Duration::from_secs(10))
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(%error, "a probe connection broke");
                    }
                }
                drop(slot);
            };
            #[allow(clippy::disallowed_methods, reason = "bounded by the slots, and ended by `stop` or a timeout")]
            tokio::spawn(answering);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_it_waits_for() {
        let health = Health::new(Metrics::new().expect("unique names"), 2);
        assert_eq!(health.answer("/livez").0, StatusCode::OK);
        let body = |health: &Health| String::from_utf8(health.answer("/readyz").1).expect("UTF-8");
        assert!(body(&health).contains("taffrail-crds"));
        health.kinds_served();
        assert_eq!(body(&health), "filling 2 caches\n");
        health.cache_filled();
        health.cache_filled();
        assert_eq!(health.answer("/readyz").0, StatusCode::OK);
        assert_eq!(health.answer("/else").0, StatusCode::NOT_FOUND);
    }
}
