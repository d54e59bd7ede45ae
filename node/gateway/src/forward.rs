//! Requests to a peer, with the store, request id and deadline of the call. A call from a peer
//! ([`Origin::Peer`](crate::Origin::Peer)) is never forwarded again.
//!
//! The message to the peer is the encoded request of the client ([`Original`]), never the decoded message encoded again:
//! the peer may know fields that this node does not know.

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use prost::Message;
use taffrail_client::{HOP, REQUEST_ID, STORE};
use taffrail_core::names::StoreName;
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    codec::{self, Encoded},
};
use taffrail_store_api::PeerChannel;
use tokio::time::Instant;
use tonic::{
    Request, Response, Status, Streaming,
    client::Grpc,
    metadata::{MetadataMap, MetadataValue},
};

/// Up to this size a request is copied, in bytes: a call may last for ever, and must not hold the receive buffer of the
/// connection, with which the request shares memory.
const COPY_MAX: usize = 16 << 10;

/// The encoded request of a client, with every field, whether this node knows the field or not.
#[derive(Clone, Debug)]
pub(crate) struct Original(Bytes);

impl Original {
    /// Returns the request of the current call, whose decoded message is `request`.
    #[must_use]
    pub(crate) fn of(request: &impl Message) -> Self {
        Self(match codec::received() {
            Some(bytes) if bytes.len() <= COPY_MAX => Bytes::copy_from_slice(&bytes),
            Some(bytes) => bytes,
            None => request.encode_to_vec().into(),
        })
    }

    /// Returns the request as received.
    #[must_use]
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// Returns the request with the fields of `change` in place of the fields of the client. Of two values for a field,
    /// a decoder takes the last value; two messages for a field are merged.
    #[must_use]
    pub(crate) fn with(&self, change: &impl Message) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.0.len() + change.encoded_len());
        bytes.extend_from_slice(&self.0);
        change.encode_raw(&mut bytes);
        bytes.freeze()
    }
}

/// Sends a request to a peer and returns the response.
///
/// # Errors
/// The status of the peer or of the connection.
pub(crate) async fn unary<U>(
    channel: PeerChannel,
    path: &'static str,
    request: Request<Bytes>,
) -> Result<Response<U>, Status>
where
    U: Message + Default + 'static,
{
    ready(channel).await?.unary(request, PathAndQuery::from_static(path), Encoded::<U>::default()).await
}

/// Sends a request to a peer and returns the stream of responses.
///
/// # Errors
/// The status of the peer or of the connection.
pub(crate) async fn streaming<U>(
    channel: PeerChannel,
    path: &'static str,
    request: Request<Bytes>,
) -> Result<Response<Streaming<U>>, Status>
where
    U: Message + Default + 'static,
{
    ready(channel).await?.server_streaming(request, PathAndQuery::from_static(path), Encoded::<U>::default()).await
}

async fn ready(channel: PeerChannel) -> Result<Grpc<PeerChannel>, Status> {
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::unknown(format!("the connection to the peer is not ready: {error}")))?;
    Ok(grpc)
}

/// Builds the request to a peer from the message of a call.
#[must_use]
pub(crate) fn request<T>(message: T, store: &StoreName, request_id: &str, deadline: Option<Instant>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    let metadata = request.metadata_mut();
    metadata.insert(HOP, MetadataValue::from_static("1"));
    if let Ok(value) = store.to_string().parse() {
        metadata.insert(STORE, value);
    }
    if let Ok(value) = request_id.parse() {
        metadata.insert(REQUEST_ID, value);
    }
    request
}

/// Returns the request id from the metadata, or a random id if absent, empty or longer than 64 bytes.
#[must_use]
pub(crate) fn request_id(metadata: &MetadataMap) -> String {
    let given = metadata.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty() && v.len() <= 64);
    given.map_or_else(|| format!("{:016x}", taffrail_runtime::random_u64()), ToOwned::to_owned)
}
