//! Tests that silence never widens a call: whatever a node does not know is refused, or reaches the peer that answers.
//! Requests are sent as bytes, as a client of a later release would send them.

use super::harness::{Cluster, Port};
use crate::{CallMemory, forward, server};
use bytes::Bytes;
use prost::Message;
use std::sync::{Arc, Mutex};
use taffrail_proto::{
    codec, error_detail,
    v1::{
        self,
        streams_server::{Streams, StreamsServer},
        subscriptions_server::{Subscriptions, SubscriptionsServer},
    },
};
use taffrail_store_api::peer_channel;
use tokio_stream::{Once, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder, transport::Endpoint};
use tonic_types::StatusExt;

const APPEND: &str = "/taffrail.v1.Streams/Append";
const READ: &str = "/taffrail.v1.Streams/Read";
const LIST: &str = "/taffrail.v1.Streams/List";
const SUBSCRIBE: &str = "/taffrail.v1.Subscriptions/Subscribe";
const STORES: &str = "/taffrail.v1.Stores/List";
const CREATE_STORE: &str = "/taffrail.v1.Stores/Create";
const REMOVE_STORE: &str = "/taffrail.v1.Stores/Remove";

/// A field of a later release: number 1000 with a text.
const LATER: &[u8] = b"\xc2\x3e\x05later";

/// Encodes a field with a message or text.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let head = [number << 3 | 2, u8::try_from(content.len()).unwrap()];
    [&head[..], content].concat()
}

/// Encodes a field with a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn append() -> Vec<u8> {
    let events = vec![taffrail_client::EventBuilder::new("T").build()];
    v1::AppendRequest { stream: "s".into(), events, ..v1::AppendRequest::default() }.encode_to_vec()
}

fn all() -> Vec<u8> {
    let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() }.encode_to_vec()
}

/// Sends a request, and returns the refusal at the start of the response.
async fn refusal(port: &Port, path: &'static str, request: Vec<u8>) -> Option<Status> {
    let channel = Endpoint::from_shared(port.address.clone()).unwrap().connect().await.unwrap();
    forward::streaming::<v1::Unit>(peer_channel(channel), path, Request::new(request.into())).await.err()
}

#[tokio::test]
async fn what_a_node_does_not_know_is_refused_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    let later_kind = number(15, 1);
    let cases = [
        (APPEND, [append(), field(2, b"")].concat(), "expected"),
        (APPEND, [append(), field(2, &later_kind)].concat(), "expected"),
        (READ, field(1, &later_kind), "selector"),
        (READ, [all(), number(2, 9)].concat(), "direction"),
        (READ, [all(), field(3, b"")].concat(), "start"),
        (READ, [all(), field(3, &number(7, 1))].concat(), "start"),
        (READ, [all(), number(5, 9)].concat(), "consistency"),
        (SUBSCRIBE, field(1, b""), "selector"),
        (SUBSCRIBE, field(1, &later_kind), "selector"),
        (SUBSCRIBE, [all(), field(2, &number(7, 1))].concat(), "start"),
    ];
    // Node 1 has the replica, node 2 forwards, and the peer port of node 1 serves what other nodes forward.
    for (path, request, field) in cases {
        for port in cluster.clients.iter().chain(&cluster.peers[..1]) {
            let status = refusal(port, path, request.clone()).await.unwrap_or_else(|| panic!("{path} {field}"));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(
                (status.code(), info.reason.as_str()),
                (Code::InvalidArgument, "INVALID_ARGUMENT"),
                "{status:?}"
            );
            assert_eq!(info.metadata["field"], field, "{path}: {status:?}");
        }
    }
    // The requests without the fault are accepted.
    for port in &cluster.clients {
        for (path, request) in [(APPEND, append()), (READ, all()), (SUBSCRIBE, all()), (LIST, vec![]), (STORES, vec![])]
        {
            let refused = refusal(port, path, request).await;
            assert!(refused.is_none(), "{path}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_needed_feature_that_a_node_does_not_know_is_unsupported_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    let client = cluster.client(1).await;
    let known = client.features().await.unwrap();
    let later = u8::try_from(known.iter().max().copied().unwrap_or(0) + 1).unwrap();
    let cases = [
        (APPEND, [append(), number(10, later)].concat()),
        (READ, [all(), number(6, later)].concat()),
        (LIST, number(4, later)),
        (SUBSCRIBE, [all(), number(3, later)].concat()),
        (STORES, number(6, later)),
        (CREATE_STORE, number(3, later)),
        (REMOVE_STORE, number(2, later)),
    ];
    for (path, request) in cases {
        for port in cluster.clients.iter().chain(&cluster.peers[..1]) {
            let status = refusal(port, path, request.clone()).await.unwrap_or_else(|| panic!("{path}"));
            assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
            assert_eq!(status.get_details_error_info().unwrap().metadata["features"], later.to_string());
            assert_eq!(error_detail::find(status.details()).unwrap().reason(), v1::Reason::Unsupported);
        }
    }
    let replica = cluster.nodes[0].replica();
    assert_eq!(replica.asked.load(std::sync::atomic::Ordering::SeqCst), 0, "a refused append was proposed");
}

/// A peer that records the requests of other nodes.
#[derive(Clone, Default)]
struct Spy(Arc<Mutex<Vec<Bytes>>>);

impl Spy {
    fn record(&self) {
        self.0.lock().unwrap().push(codec::received().expect("the layers of a port keep the request"));
    }
    fn recorded(&self) -> Bytes {
        self.0.lock().unwrap().first().expect("the peer was asked").clone()
    }
    /// Opens a port and returns the address.
    async fn serve(&self) -> String {
        let mut routes = RoutesBuilder::default();
        routes.add_service(StreamsServer::new(self.clone())).add_service(SubscriptionsServer::new(self.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = server::server(&CallMemory::new(64 << 20, 64 << 20)).add_routes(routes.routes());
        taffrail_runtime::spawn_task("silent peer", taffrail_runtime::TaskKind::Call, async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        address
    }
}

#[tonic::async_trait]
impl Streams for Spy {
    async fn append(&self, _: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        self.record();
        Ok(Response::new(v1::AppendResponse::default()))
    }
    type ReadStream = Once<Result<v1::ReadResponse, Status>>;
    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.record();
        let end = v1::read_response::Kind::End(v1::ReadEnd::default());
        Ok(Response::new(tokio_stream::once(Ok(v1::ReadResponse { kind: Some(end) }))))
    }
    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        self.record();
        Ok(Response::new(v1::ListResponse::default()))
    }
}

#[tonic::async_trait]
impl Subscriptions for Spy {
    type SubscribeStream = Once<Result<v1::SubscribeResponse, Status>>;
    async fn subscribe(&self, _: Request<v1::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        self.record();
        let confirmed = v1::subscribe_response::Kind::Confirmed(v1::Confirmed::default());
        Ok(Response::new(tokio_stream::once(Ok(v1::SubscribeResponse { kind: Some(confirmed) }))))
    }
}

/// Sends a request to node 2, whose only peer is a spy, and returns the request that the spy receives.
async fn forwarded(path: &'static str, request: &[u8]) -> Bytes {
    let cluster = Cluster::start(2, &[1]).await;
    let spy = Spy::default();
    let channel = Endpoint::from_shared(spy.serve().await).unwrap().connect().await.unwrap();
    cluster.nodes[1].connect(1, channel);
    let channel = Endpoint::from_shared(cluster.clients[1].address.clone()).unwrap().connect().await.unwrap();
    let request = Request::new(Bytes::copy_from_slice(request));
    let mut answer = forward::streaming::<v1::Unit>(peer_channel(channel), path, request).await.unwrap().into_inner();
    answer.message().await.unwrap();
    spy.recorded()
}

#[tokio::test]
async fn a_forwarded_request_keeps_the_fields_of_a_later_release() {
    for (path, request) in [(APPEND, append()), (LIST, field(1, b"a-"))] {
        let request = [request, LATER.to_vec()].concat();
        assert_eq!(forwarded(path, &request).await, request, "{path}");
    }
}

#[tokio::test]
async fn a_forwarded_read_keeps_the_fields_of_a_later_release_beside_its_own_start() {
    // A selector and a start with fields of a later release, and a limit.
    let selector = field(1, &[field(1, b"s"), LATER.to_vec()].concat());
    let start = [number(4, 41), LATER.to_vec()].concat();
    let request = [selector.clone(), field(3, &start), number(4, 5), LATER.to_vec()].concat();
    let seen = forwarded(READ, &request).await;
    assert!(seen.starts_with(&request), "the request of the client is not at the front: {seen:?}");
    let read = v1::ReadRequest::decode(seen).unwrap();
    assert_eq!(read.start.unwrap().kind, Some(v1::start::Kind::FromRevision(42)), "the start of the node counts");
    assert_eq!(read.limit, 5);
    let request = [selector, field(2, &start), LATER.to_vec()].concat();
    let seen = forwarded(SUBSCRIBE, &request).await;
    assert!(seen.starts_with(&request), "the request of the client is not at the front: {seen:?}");
    let subscribe = v1::SubscribeRequest::decode(seen).unwrap();
    assert_eq!(subscribe.start.unwrap().kind, Some(v1::start::Kind::FromRevision(42)));
}
