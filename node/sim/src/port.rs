//! [`VirtualPort`]: gRPC calls to the port of a node, without sockets. The handler runs in the scope of the node, so a crash
//! ends the handler and breaks the call; a caller that gives up ends the handler, as a reset stream does.

use crate::{
    network::{Endpoint, Ports},
    trace,
    world::World,
};
use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use http::{Request, Response, response::Parts};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use taffrail_core::ids::NodeId;
use taffrail_store_api::PeerChannel;
use tokio::sync::{mpsc, oneshot};
use tonic::{ConnectError, TimeoutExpired, body::Body, codegen::StdError};
use tower::{Service, ServiceExt};

/// Frames of a response in transit.
const FRAMES_MAX: usize = 4;

/// A port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Calls of clients.
    Clients,
    /// Calls forwarded by a peer.
    Forwarded,
    /// Calls of the operator.
    Admin,
}

/// A connection to a port of the node on a host.
#[derive(Clone)]
pub struct VirtualPort {
    /// World of the run.
    pub world: Arc<World>,
    /// The calling host; `None` for clients and the operator, whose connections are never cut.
    pub from: Option<NodeId>,
    /// The called host.
    pub to: NodeId,
    /// The called port.
    pub port: Port,
}

impl Service<Request<Body>> for VirtualPort {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Body>, StdError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        let timeout = request.headers().get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse_timeout);
        Box::pin(async move {
            match timeout {
                None => this.carry(request).await,
                Some(timeout) => match tokio::time::timeout(timeout, this.carry(request)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(TimeoutExpired(()).into()),
                },
            }
        })
    }
}

/// Parses the header `grpc-timeout`: a number and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

fn broken() -> StdError {
    "the connection broke".into()
}

impl VirtualPort {
    /// The called node, when the node runs and the way to the node is not cut.
    fn endpoint(&self) -> Option<Endpoint> {
        // A diverged replica gives wrong answers until the node has found the divergence.
        if self.port != Port::Admin && self.world.diverged.is_host(self.to) {
            return None;
        }
        self.world.network.endpoint(self.from.unwrap_or(self.to), self.to)
    }

    /// True while answers of the node started as `life` reach the caller.
    fn answers(&self, life: u64) -> bool {
        let alive = self.endpoint().is_some_and(|e| e.life == life);
        alive && self.from.is_none_or(|from| self.world.network.endpoint(self.to, from).is_some())
    }

    /// Waits until the caller notices a lost connection.
    async fn silence(&self) -> StdError {
        self.world.pause(300, 2500).await;
        broken()
    }

    async fn carry(self, request: Request<Body>) -> Result<Response<Body>, StdError> {
        let world = Arc::clone(&self.world);
        let (number, path) = (world.network.next_frame(), request.uri().path().to_owned());
        let from = self.from.map_or_else(|| "outside".to_owned(), |n| format!("n{n}"));
        trace!(world, "call #{number} {from}>n{} {path}", self.to);
        if self.endpoint().is_none() {
            return Err(ConnectError("the connection was refused".into()).into());
        }
        let Some(delay) = world.travel() else { return Err(self.silence().await) };
        tokio::time::sleep(delay).await;
        let Some(Endpoint { scope, ports, life, .. }) = self.endpoint() else {
            return Err(self.silence().await);
        };
        let (head, answered) = oneshot::channel();
        let (frames, body) = mpsc::channel(FRAMES_MAX);
        scope.spawn(serve(self.service(&ports), request, head, frames));
        drop(ports);
        let parts = answered.await.map_err(|_| broken())?;
        let Some(delay) = world.travel() else { return Err(self.silence().await) };
        tokio::time::sleep(delay).await;
        if !self.answers(life) {
            return Err(self.silence().await);
        }
        trace!(world, "answered #{number}");
        Ok(Response::from_parts(parts, self.body(body, life)))
    }

    fn service(&self, ports: &Ports) -> PeerChannel {
        match self.port {
            Port::Clients => ports.clients.clone(),
            Port::Forwarded => ports.forwarded.clone(),
            Port::Admin => ports.admin.clone(),
        }
    }

    /// The body of a response. A body without trailers ends with an error, because tonic would take the end for success.
    fn body(self, frames: mpsc::Receiver<Frame<Bytes>>, life: u64) -> Body {
        let frames = stream::unfold(Some((self, frames)), move |open| async move {
            let (this, mut frames) = open?;
            match frames.recv().await {
                Some(frame) if this.answers(life) => {
                    let last = frame.is_trailers();
                    Some((Ok(frame), (!last).then_some((this, frames))))
                }
                Some(_) | None => Some((Err(broken()), None)),
            }
        });
        Body::new(StreamBody::new(frames))
    }
}

/// Runs the handler of a call and passes on the response, until the caller gives up.
async fn serve(
    service: PeerChannel,
    request: Request<Body>,
    mut head: oneshot::Sender<Parts>,
    frames: mpsc::Sender<Frame<Bytes>>,
) {
    let response = tokio::select! {
        biased;
        () = head.closed() => return,
        response = service.oneshot(request) => response,
    };
    let Ok(response) = response else { return };
    let (parts, mut body) = response.into_parts();
    if head.send(parts).is_err() {
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_grpc_are_read_in_every_unit() {
        let cases = [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("1500m", 1.5), ("1500u", 0.0015), ("9n", 9e-9)];
        for (text, seconds) in cases {
            assert_eq!(parse_timeout(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!((parse_timeout(""), parse_timeout("5"), parse_timeout("x")), (None, None, None));
    }
}
