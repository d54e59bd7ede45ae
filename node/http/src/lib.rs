//! HTTP server of probes and metrics, port 9090 of a node and port 8080 of the operator:
//! `/livez`, `/readyz` and `/metrics`.
//!
//! [`bind`] opens the port, and [`serve`] answers requests from an implementation of [`Probes`]. The server bounds:
//!
//! - the number of connections: at the limit, the oldest connection is closed in favour of the new connection. A probe
//!   must get an answer even if slow clients hold many connections, because a missed liveness probe restarts the pod.
//! - the time until the headers of a request are complete;
//! - the lifetime of a connection.

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Maximum number of open connections.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for the headers of a request, counted from the accept of the connection or from the end of the previous
/// response. An idle connection therefore ends after this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Lifetime of a connection. A client that sends a request and does not read the response would keep the rendered page
/// in memory for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Pause after a failed accept. Without a free file descriptor, the next accept would fail at once as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answers of a process to probes. The server calls the methods on the async runtime, so no method may block.
pub trait Probes: Send + Sync + 'static {
    /// Returns `Ok` if the process should keep running.
    ///
    /// # Errors
    /// The reason for a restart, as a single line.
    fn live(&self) -> Result<(), String>;
    /// Returns `Ok` if the process can serve.
    ///
    /// # Errors
    /// The reason why the process cannot serve, as a single line.
    fn ready(&self) -> Result<(), String>;
    /// Returns the metrics in the Prometheus text format.
    ///
    /// # Errors
    /// The reason why the metrics cannot be rendered, as a single line.
    fn metrics(&self) -> Result<String, String>;
}

/// Opens the port. On a kernel without IPv6, an unspecified IPv6 address becomes the unspecified IPv4 address with
/// the same port.
///
/// # Errors
/// The error of the operating system if the port cannot be opened.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        result => result,
    }
}

/// Serves connections of `listener` until `stop` is cancelled. The cancellation also ends the open connections.
pub async fn serve(listener: TcpListener, probes: Arc<dyn Probes>, stop: CancellationToken) {
    let connections = Arc::new(Connections::new(stop.clone()));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = Connections::open(&connections);
                let served = serve_connection(stream, Arc::clone(&probes), connection);
                rt::spawn_task("HTTP connection", TaskKind::Call, served);
            }
            Err(error) => {
                tracing::warn!(%error, "accepting an HTTP connection failed; trying again after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, probes: Arc<dyn Probes>, connection: Connection) {
    let service = service_fn(move |request| {
        let response = respond(&request, probes.as_ref());
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = connection.ended.cancelled() => {}
        ended = tokio::time::timeout(CONNECTION_TIME, serving) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended with an error"),
            Err(_) => tracing::debug!(seconds = CONNECTION_TIME.as_secs(), "an HTTP connection exceeded its time"),
        },
    }
}

fn respond<B>(request: &Request<B>, probes: &dyn Probes) -> Response<Full<Bytes>> {
    let verdict = |result: Result<(), String>| match result {
        Ok(()) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
    };
    let (status, kind, body) = match request.uri().path() {
        "/livez" => verdict(probes.live()),
        "/readyz" => verdict(probes.ready()),
        "/metrics" => match probes.metrics() {
            Ok(page) => (StatusCode::OK, PROMETHEUS_TEXT, page),
            Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{reason}\n")),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, "paths: /metrics /livez /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// The open connections, oldest first.
struct Connections {
    stop: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// An open connection. The drop frees the connection's place for another connection.
struct Connection {
    connections: Arc<Connections>,
    number: u64,
    /// Cancelled when the connection must end: at the limit of connections, or at the stop of the server.
    ended: CancellationToken,
}

impl Connections {
    fn new(stop: CancellationToken) -> Self {
        Self { stop, open: Mutex::default() }
    }

    /// Takes a place for a new connection. At the limit, the oldest connection ends and frees a place.
    fn open(this: &Arc<Self>) -> Connection {
        let ended = this.stop.child_token();
        let mut open = this.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.by_age.len() >= CONNECTIONS_MAX
            && let Some((_, oldest)) = open.by_age.pop_first()
        {
            oldest.cancel();
        }
        let number = open.next;
        open.next += 1;
        open.by_age.insert(number, ended.clone());
        Connection { connections: Arc::clone(this), number, ended }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
