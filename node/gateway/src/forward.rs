//! Requests to a peer, with the store, request id and deadline of the call. A call from a peer
//! ([`Origin::Peer`](crate::Origin::Peer)) is never forwarded again.

use taffrail_client::{HOP, REQUEST_ID, STORE};
use taffrail_core::names::StoreName;
use tokio::time::Instant;
use tonic::{
    Request,
    metadata::{MetadataMap, MetadataValue},
};

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
