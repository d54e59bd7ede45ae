//! Requests to a peer: one hop that carries store, request id and deadline of the call. A call from a peer is never
//! forwarded again (see [`Origin`](crate::Origin)).

use taffrail_client::{HOP, REQUEST_ID, STORE};
use taffrail_core::names::StoreName;
use tokio::time::Instant;
use tonic::{
    Request,
    metadata::{MetadataMap, MetadataValue},
};

/// Builds the request to a peer for a message of a call.
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

/// Returns the request id of a call, or a random one if the client sent none.
#[must_use]
pub(crate) fn request_id(metadata: &MetadataMap) -> String {
    let given = metadata.get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty() && v.len() <= 64);
    given.map_or_else(|| format!("{:016x}", taffrail_runtime::random_u64()), ToOwned::to_owned)
}
