//! [`GrpcTransport`]: the transport over tonic. One task per address keeps a connection, verifies the peer by a
//! handshake every second, and drops the connection when the handshake fails. Only verified connections carry frames.
//! Large requests travel in [`pieces`], so that no frame keeps a heartbeat waiting.

use super::{
    CallError, PeerTransport, Request,
    dispatch::Handler,
    frame, pieces,
    server::check_identity,
    table::{Link, Table},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use taffrail_core::ids::{ClusterId, NodeId};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    peer::{CatchUpChunk, CatchUpRequest, Frame, HandshakeRequest, peer_client::PeerClient},
};
use taffrail_runtime as rt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
const PROVE_AGAIN: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Maximum number of received chunks in memory, when the receiver's disk is slow.
const CHUNKS_MAX: usize = 4;

/// Sends frames over verified connections. Cheap to clone: all clones share the connections.
#[derive(Clone)]
pub struct GrpcTransport {
    table: Table,
    own: watch::Receiver<Option<(ClusterId, NodeId)>>,
}

impl GrpcTransport {
    /// Makes a transport over the verified connections of `table`. `own` holds the cluster and the node id that frames
    /// name as their sender.
    #[must_use]
    pub fn new(table: Table, own: watch::Receiver<Option<(ClusterId, NodeId)>>) -> Self {
        Self { table, own }
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn send(channel: Channel, frame: Frame, ttl: Duration) -> Result<Bytes, CallError> {
    let mut client = client(channel);
    let answer = tokio::time::timeout(ttl, client.call(frame)).await;
    let answer = answer.map_err(|_| CallError::NoAnswer(format!("none within {ttl:?}")))?;
    let answer = answer.map_err(|status| CallError::NoAnswer(status.message().to_owned()))?.into_inner();
    match answer.refusal {
        Some(no) => Err(CallError::Refused(no)),
        None => Ok(answer.payload),
    }
}

impl PeerTransport for GrpcTransport {
    fn call(&self, to: NodeId, request: Request, ttl: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let this = self.clone();
        pieces::call(request, ttl, move |request, ttl| {
            let this = this.clone();
            async move {
                let channel = this.table.channel(to).ok_or(CallError::Unreachable(to))?;
                let frame = frame(*this.own.borrow(), to, request, ttl)?;
                send(channel, frame, ttl).await
            }
        })
        .boxed()
    }

    fn catch_up(
        &self,
        to: NodeId,
        request: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        let channel = self.table.channel(to);
        async move {
            let channel = channel.ok_or(CallError::Unreachable(to))?;
            let lost = |status: tonic::Status| CallError::NoAnswer(status.message().to_owned());
            let mut stream = client(channel).catch_up(request).await.map_err(lost)?.into_inner();
            let (tx, rx) = mpsc::channel(CHUNKS_MAX);
            rt::spawn(async move {
                loop {
                    // A receiver that has given up a silent source must not keep the stream open.
                    let message = tokio::select! {
                        biased;
                        () = tx.closed() => return,
                        message = stream.message() => message,
                    };
                    let item = match message {
                        Ok(Some(chunk)) => Ok(chunk),
                        Ok(None) => return,
                        Err(status) => Err(lost(status)),
                    };
                    let failed = item.is_err();
                    if tx.send(item).await.is_err() || failed {
                        return;
                    }
                }
            });
            Ok(rx)
        }
        .boxed()
    }
}

/// Keeps connections to all candidate addresses until `stop` is cancelled.
pub async fn keep_links(
    table: Table,
    handler: Arc<dyn Handler>,
    mut candidates: watch::Receiver<BTreeSet<String>>,
    stop: CancellationToken,
) {
    let mut links: BTreeMap<String, CancellationToken> = BTreeMap::new();
    loop {
        let wanted = candidates.borrow_and_update().clone();
        links.retain(|address, token| {
            let keep = wanted.contains(address);
            if !keep {
                token.cancel();
            }
            keep
        });
        for address in wanted {
            links.entry(address.clone()).or_insert_with(|| {
                let token = stop.child_token();
                rt::spawn(keep_link(address, table.clone(), Arc::clone(&handler), token.clone()));
                token
            });
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = candidates.changed() => if changed.is_err() { return },
        }
    }
}

async fn keep_link(address: String, table: Table, handler: Arc<dyn Handler>, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            outcome = hold(&address, &table, &handler) => Some(outcome),
        };
        table.remove(&address);
        let Some((reason, held)) = outcome else { return };
        tracing::debug!(%address, %reason, "peer connection ended");
        backoff = if held { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff / 2 + rt::jitter(backoff / 2)) => {}
        }
    }
}

/// Keeps a connection open while its handshakes succeed. Returns the reason for the end of the connection, and whether
/// any handshake succeeded.
async fn hold(address: &str, table: &Table, handler: &Arc<dyn Handler>) -> (String, bool) {
    let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
        Ok(endpoint) => endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // Calls in flight on a dead connection fail soon instead of at their own deadlines.
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20),
        Err(e) => return (format!("address {address}: {e}"), false),
    };
    let channel = match endpoint.connect().await {
        Ok(channel) => channel,
        Err(e) => return (e.to_string(), false),
    };
    let mut proven = false;
    loop {
        let Some(own) = handler.identity() else { return ("this node belongs to no cluster yet".into(), proven) };
        let request = HandshakeRequest { from: Some(own.clone()) };
        let mut peer = client(channel.clone());
        let answer = match tokio::time::timeout(HANDSHAKE_TIMEOUT, peer.handshake(request)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return (status.message().to_owned(), proven),
            Err(_) => return ("the peer did not answer the handshake in time".into(), proven),
        };
        let Some(identity) = answer.from else {
            return ("the peer answered the handshake without an identity".into(), proven);
        };
        if let Err(why) = check_identity(&own, &identity) {
            return (why, proven);
        }
        let joining = identity.node_id == 0;
        table.put(Link { address: address.to_owned(), identity, channel: channel.clone() });
        proven = true;
        tokio::time::sleep(if joining { PROVE_AGAIN / 4 } else { PROVE_AGAIN }).await;
    }
}
