//! `Streams.List`: lists the streams of a store, page by page, from the replica of this node or through a peer.

use crate::{
    Origin, Shared,
    call::{Call, call, peer_lost},
    forward,
    status::{Problem, Reason},
};
use taffrail_core::{ids::NodeId, names::StreamName};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, streams_client::StreamsClient},
};
use taffrail_store_api::{ResolveError, Route, StoreRef, StoreReplica};
use tonic::{Request, Response, Status};

/// Number of streams in a page for a request without `page_size`.
const PAGE_SIZE_DEFAULT: usize = 1_000;
/// Maximum number of streams in a page; a larger `page_size` is reduced to this value.
const PAGE_SIZE_MAX: usize = 10_000;

/// Handles a call of `Streams.List`.
///
/// # Errors
/// When the request breaks a rule, or no replica can answer.
pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListRequest>,
) -> Result<Response<v1::ListResponse>, Status> {
    let call = call(shared, &request)?;
    let request = request.into_inner();
    let limit = match request.page_size as usize {
        0 => PAGE_SIZE_DEFAULT,
        n => n.min(PAGE_SIZE_MAX),
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(StreamName::new(token).map_err(|e| Problem::field("page_token", e.rule))?),
    };
    let store = shared.node.resolve(&call.store, call.deadline).await.map_err(Problem::from)?;
    let response = match shared.node.route_read(&store) {
        Route::Local(replica) => list_locally(shared, &call, &*replica, request.prefix, after, limit).await,
        Route::Remote(_) if shared.origin == Origin::Peer => {
            Err(Problem::from(ResolveError::NotServing("no replica of the store on this node".into())).into())
        }
        Route::Remote(nodes) => list_on_peer(shared, &call, &store, &nodes, request).await,
    };
    response.map(Response::new)
}

async fn list_locally(
    shared: &Shared,
    call: &Call,
    replica: &dyn StoreReplica,
    prefix: String,
    after: Option<StreamName>,
    limit: usize,
) -> Result<v1::ListResponse, Status> {
    replica.read_index(call.deadline).await.map_err(Problem::from)?;
    let list = shared.readers.run(replica.reader(), move |r| r.list_streams(&prefix, after.as_ref(), limit));
    let streams = list.await.map_err(Problem::from)?;
    let next = if streams.len() == limit { streams.last().map(|s| s.stream.as_str().to_owned()) } else { None };
    let streams = streams.into_iter().map(|s| v1::StreamInfo {
        stream: s.stream.as_str().to_owned(),
        last_revision: s.last_revision.get(),
        events: s.last_revision.get() + 1,
    });
    Ok(v1::ListResponse { streams: streams.collect(), next_page_token: next.unwrap_or_default() })
}

/// Asks the peers in order until a peer answers.
async fn list_on_peer(
    shared: &Shared,
    call: &Call,
    store: &StoreRef,
    nodes: &[NodeId],
    request: v1::ListRequest,
) -> Result<v1::ListResponse, Status> {
    let mut last = Problem::new(Reason::NotServing, "no replica of the store can be reached").into();
    for node in nodes {
        let Some(channel) = shared.node.peer_channel(*node) else { continue };
        let mut client = StreamsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = forward::request(request.clone(), &store.name, &call.request_id, Some(call.deadline));
        match client.list(request).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if peer_lost(&status) => last = status,
            Err(status) => return Err(status),
        }
    }
    Err(last)
}
