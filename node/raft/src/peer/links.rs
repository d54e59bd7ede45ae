//! Keeps the connections to the peers ([`keep_links`]): for each address a connection on each [`Lane`].
//!
//! A task per address and lane opens the connection, verifies the peer by a handshake every second, and drops the
//! connection when a handshake fails. Only verified connections enter the [`Table`]. The connections of the other lanes
//! are opened once the control lane has verified the peer, so an address without a peer costs one attempt at a time.

use super::{
    Lane,
    dispatch::Handler,
    grpc::client,
    handshake::verify,
    table::{Link, Table},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use taffrail_proto::peer::{HandshakeRequest, HandshakeResponse, Identity};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
const PROVE_AGAIN: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Bytes of an answer that a peer may send before this node reads.
const STREAM_WINDOW: u32 = 4 << 20;
/// Bytes of all answers on a connection that a peer may send before this node reads.
const CONNECTION_WINDOW: u32 = 16 << 20;

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
                for lane in Lane::ALL {
                    let (table, handler) = (table.clone(), Arc::clone(&handler));
                    let link = keep_link(address.clone(), lane, table, handler, token.clone());
                    rt::spawn_task("peer link", TaskKind::Part, link);
                }
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

async fn keep_link(address: String, lane: Lane, table: Table, handler: Arc<dyn Handler>, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            outcome = hold(&address, lane, &table, &handler) => Some(outcome),
        };
        table.remove(&address, lane);
        let Some((reason, held)) = outcome else { return };
        tracing::debug!(%address, ?lane, %reason, "peer connection ended");
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
async fn hold(address: &str, lane: Lane, table: &Table, handler: &Arc<dyn Handler>) -> (String, bool) {
    if lane != Lane::Control {
        table.reached(address).await;
    }
    let channel = match connect(address).await {
        Ok(channel) => channel,
        Err(why) => return (why, false),
    };
    let mut proven = false;
    loop {
        let Some(own) = handler.identity() else { return ("this node belongs to no cluster yet".into(), proven) };
        let asked = handshake(channel.clone(), &own);
        let answer = if proven && !lane.answers_at_once() {
            asked.await
        } else {
            let late = |_| Err("the peer did not answer the handshake in time".to_owned());
            tokio::time::timeout(HANDSHAKE_TIMEOUT, asked).await.unwrap_or_else(late)
        };
        let verified = match answer {
            Ok(answer) => verify(&**handler, &own, answer).await,
            Err(why) => Err(why),
        };
        let identity = match verified {
            Ok(identity) => identity,
            Err(why) => return (why, proven),
        };
        let joining = identity.node_id == 0;
        table.put(Link { address: address.to_owned(), lane, identity, channel: channel.clone() });
        proven = true;
        tokio::time::sleep(if joining { PROVE_AGAIN / 4 } else { PROVE_AGAIN }).await;
    }
}

async fn connect(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| format!("address {address}: {e}"))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        // Calls in flight on a dead connection fail soon instead of at their own deadlines.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    endpoint.connect().await.map_err(|e| e.to_string())
}

/// Shows the own identity to the peer and returns the answer of the peer.
async fn handshake(channel: Channel, own: &Identity) -> Result<HandshakeResponse, String> {
    let request = HandshakeRequest { from: Some(own.clone()) };
    let answer = client(channel).handshake(request).await.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner())
}

#[cfg(test)]
mod tests;
