//! The HTTP server of probes and metrics, port 9090 of nodes and operator: `/livez`, `/readyz` and `/metrics`.
//!
//! Everything is bounded: the connections, the time for a request's headers, the time of a connection. A probe must be
//! answered however many slow clients hold connections, because a missed liveness probe restarts the pod; at the limit, the
//! oldest connection is closed for the new one.

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
use taffrail_runtime as rt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;
/// Time from accepting a connection to the end of a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time of one connection. A client that asks and does not read would hold the rendered page for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(15);
/// Pause after a failed accept: without file descriptors, the next accept fails at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answers of a process to its probes. The methods are called on the runtime and must not block.
pub trait Probes: Send + Sync + 'static {
    /// Whether the process should keep running.
    ///
    /// # Errors
    /// The reason why it should be restarted, one line.
    fn live(&self) -> Result<(), String>;
    /// Whether the process can serve.
    ///
    /// # Errors
    /// The reason why not, one line.
    fn ready(&self) -> Result<(), String>;
    /// The metrics in the Prometheus text format.
    ///
    /// # Errors
    /// The reason why they cannot be rendered, one line.
    fn metrics(&self) -> Result<String, String>;
}

/// Opens the port. Where the kernel has no IPv6, an unspecified IPv6 address becomes the same port of IPv4.
///
/// # Errors
/// The port cannot be opened.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        result => result,
    }
}

/// Serves connections of `listener` until `stop`, which also ends the open connections.
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
                rt::spawn(serve_connection(stream, Arc::clone(&probes), connection));
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
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
            Err(_) => tracing::debug!(seconds = CONNECTION_TIME.as_secs(), "an HTTP connection lasted too long"),
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

/// One open connection; dropping it gives its place back.
struct Connection {
    connections: Arc<Connections>,
    number: u64,
    /// Cancelled when the connection must end.
    ended: CancellationToken,
}

impl Connections {
    fn new(stop: CancellationToken) -> Self {
        Self { stop, open: Mutex::default() }
    }

    /// Takes a place; at the limit, the oldest connection loses its own.
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
