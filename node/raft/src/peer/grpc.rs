//! [`GrpcTransport`]: the transport over tonic, on the verified connections of the [`Table`]. Requests travel on the
//! control lane and states on the bulk lane ([`Lane`]). Large requests travel in [`pieces`], so that no
//! frame keeps a heartbeat waiting.

use super::{CallError, Lane, PeerTransport, Request, frame, pieces, table::Table};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::time::Duration;
use taffrail_core::ids::{ClusterId, NodeId};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    peer::{CatchUpChunk, CatchUpRequest, Frame, peer_client::PeerClient},
};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

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

pub(super) fn client(channel: Channel) -> PeerClient<Channel> {
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
                let channel = this.table.channel(to, Lane::Control).ok_or(CallError::Unreachable(to))?;
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
        let channel = self.table.channel(to, Lane::Bulk);
        async move {
            let channel = channel.ok_or(CallError::Unreachable(to))?;
            let lost = |status: tonic::Status| CallError::NoAnswer(status.message().to_owned());
            let mut stream = client(channel).catch_up(request).await.map_err(lost)?.into_inner();
            let (tx, rx) = mpsc::channel(CHUNKS_MAX);
            rt::spawn_task("state receiver", TaskKind::Call, async move {
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
