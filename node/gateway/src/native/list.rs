//! `Streams.List`: lists the streams of a store, page by page, from the replica of this node or through a peer.

use crate::{
    Origin, Shared,
    call::{Call, call, peer_lost, replica_pause},
    features,
    forward::{self, Original},
    status::Problem,
};
use prost::Message;
use taffrail_core::{ids::NodeId, names::StreamName};
use taffrail_proto::v1;
use taffrail_store_api::{ResolveError, Route, StoreRef, StoreReplica, StreamSummary};
use tonic::{Request, Response, Status};

/// Path of the call at a peer.
const LIST: &str = "/taffrail.v1.Streams/List";
/// Number of streams in a page for a request without `page_size`.
const PAGE_SIZE_DEFAULT: usize = 1_000;
/// Maximum number of streams in a page; a larger `page_size` is reduced to this value.
const PAGE_SIZE_MAX: usize = 10_000;
/// Maximum size of the names in a page, in bytes: a page then fits into the default receive limit of gRPC libraries.
const PAGE_BYTES_MAX: usize = 1 << 20;

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
    features::check(&request.needs)?;
    let limit = match request.page_size as usize {
        0 => PAGE_SIZE_DEFAULT,
        n => n.min(PAGE_SIZE_MAX),
    };
    let after = match request.page_token.as_str() {
        "" => None,
        token => Some(StreamName::new(token).map_err(|e| Problem::field("page_token", e.rule))?),
    };
    let original = Original::of(&request);
    let page = Page { prefix: request.prefix, after, limit };
    // A new store is read only once its group is recorded as formed, and a lost replica is replaced. The wait takes no memory for
    // the answer from other calls.
    loop {
        let mut permit = call.answers.permit(Some(PAGE_BYTES_MAX)).await?;
        if let Some(response) = attempt(shared, &call, &page, &original).await? {
            // A page of another node may be larger; the permit then stays at the usual size.
            let _fits = permit.fit(response.encoded_len());
            call.answers.encode(Some(permit));
            return Ok(Response::new(response));
        }
        drop(permit);
        replica_pause(call.deadline).await?;
    }
}

/// The requested page.
struct Page {
    prefix: String,
    after: Option<StreamName>,
    limit: usize,
}

/// Lists from the replica of this node or through a peer; `None` if no replica can answer now.
async fn attempt(
    shared: &Shared,
    call: &Call,
    page: &Page,
    original: &Original,
) -> Result<Option<v1::ListResponse>, Status> {
    let store = shared.node.resolve(&call.store, call.deadline).await.map_err(Problem::from)?;
    match shared.node.route_read(&store) {
        Route::Local(replica) => list_locally(shared, call, &*replica, page).await.map(Some),
        Route::Remote(_) if shared.origin == Origin::Peer => {
            Err(Problem::from(ResolveError::NotServing("no replica of the store on this node".into())).into())
        }
        Route::Remote(nodes) => list_on_peer(shared, call, &store, &nodes, original).await,
    }
}

async fn list_locally(
    shared: &Shared,
    call: &Call,
    replica: &dyn StoreReplica,
    page: &Page,
) -> Result<v1::ListResponse, Status> {
    replica.read_index(call.deadline).await.map_err(Problem::from)?;
    let (prefix, after, limit) = (page.prefix.clone(), page.after.clone(), page.limit);
    let list = shared.readers.run(replica.reader(), move |r| r.list_streams(&prefix, after.as_ref(), limit));
    let mut streams = list.await.map_err(Problem::from)?;
    let full = streams.len() == limit;
    let cut = cut_to_bytes(&mut streams, PAGE_BYTES_MAX);
    let next = streams.last().filter(|_| full || cut).map(|s| s.stream.as_str().to_owned());
    let streams = streams.into_iter().map(|s| v1::StreamInfo {
        stream: s.stream.as_str().to_owned(),
        last_revision: s.last_revision.get(),
        event_count: s.last_revision.get() + 1,
    });
    Ok(v1::ListResponse { streams: streams.collect(), next_page_token: next.unwrap_or_default() })
}

/// Removes the streams at the end of a page whose names have more than `bytes_max` bytes together. Returns true if
/// streams were removed.
fn cut_to_bytes(streams: &mut Vec<StreamSummary>, bytes_max: usize) -> bool {
    let (before, mut bytes) = (streams.len(), 0);
    streams.retain(|stream| {
        bytes += stream.stream.as_str().len();
        bytes <= bytes_max
    });
    streams.len() < before
}

/// Asks the peers in order until a peer answers; `None` if no peer does.
async fn list_on_peer(
    shared: &Shared,
    call: &Call,
    store: &StoreRef,
    nodes: &[NodeId],
    original: &Original,
) -> Result<Option<v1::ListResponse>, Status> {
    for node in nodes {
        let Some(channel) = shared.node.peer_channel(*node) else { continue };
        let request = forward::request(original.bytes(), &store.name, &call.request_id, Some(call.deadline));
        match forward::unary::<v1::ListResponse>(channel, LIST, request).await {
            Ok(response) => return Ok(Some(response.into_inner())),
            Err(status) if peer_lost(&status) => {}
            Err(status) => return Err(status),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::ids::Revision;

    #[test]
    fn a_page_is_cut_before_the_first_name_beyond_the_bound() {
        let stream = |bytes: usize| StreamSummary {
            stream: StreamName::new(&"s".repeat(bytes)).unwrap(),
            last_revision: Revision::default(),
        };
        let mut streams = vec![stream(4), stream(5), stream(1), stream(1)];
        assert!(!cut_to_bytes(&mut streams, 11));
        assert!(cut_to_bytes(&mut streams, 9));
        assert_eq!(streams, [stream(4), stream(5)]);
    }
}
