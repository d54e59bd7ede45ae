//! Answers of the gateway of a real process: deadlines, bare store names and refused appends.

use super::node::Node;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use taffrail_client::{EventBuilder, Expected, v1};
use taffrail_proto::{
    admin::{DeclareStoresRequest, StoreDeclaration, admin_client::AdminClient},
    v1::{cluster_client::ClusterClient, expected_revision::Kind as Expect, streams_client::StreamsClient},
};
use tonic::{Code, Status, body::Body, transport::Endpoint};
use tonic_types::StatusExt;

type Sender = hyper::client::conn::http2::SendRequest<Body>;

/// A connection whose client has no timer.
async fn connect(node: &Node) -> Sender {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", node.ports.clients)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

type Channel = tower::util::BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

async fn untimed(node: &Node) -> Channel {
    let sender = connect(node).await;
    let send = move |request: Request<Body>| sender.clone().send_request(request);
    tower::util::BoxCloneService::new(tower::service_fn(send))
}

fn limited<T>(message: T, timeout: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn says(what: &str, status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what}: no reason: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("taffrail.io", reason), "{what}");
}

fn append(stream: &str) -> v1::AppendRequest {
    let events = vec![EventBuilder::new("T").build()];
    v1::AppendRequest { stream: stream.into(), events, ..v1::AppendRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_outwaits_its_deadline_hears_the_reason_from_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let origin: http::Uri = node.endpoint().parse().unwrap();
    let mut streams = StreamsClient::with_origin(untimed(&node).await, origin.clone());
    // A new store takes no append before its group is recorded as formed.
    node.client().append("short", Expected::Any, vec![EventBuilder::new("T").build()]).await.unwrap();
    for n in 0..200_u32 {
        let timeout = format!("{}u", 1000 + 100 * (n % 40));
        // The call may succeed or fail, but a failure always has a reason.
        if let Err(status) = streams.append(limited(append("short"), &timeout)).await {
            let info = status.get_details_error_info().unwrap_or_else(|| panic!("{timeout}: no reason: {status:?}"));
            assert!(["DEADLINE", "OUTCOME_UNKNOWN"].contains(&info.reason.as_str()), "{timeout}: {status:?}");
        }
        if let Err(status) = streams.list(limited(v1::ListRequest::default(), &timeout)).await {
            let info = status.get_details_error_info().unwrap_or_else(|| panic!("{timeout}: no reason: {status:?}"));
            assert!(["DEADLINE", "NO_QUORUM"].contains(&info.reason.as_str()), "{timeout}: {status:?}");
        }
    }
    // Half a message.
    let begun = [Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2])))];
    let body = Body::new(StreamBody::new(futures::stream::iter(begun).chain(futures::stream::pending())));
    let request = Request::post(format!("{}/taffrail.v1.Streams/Append", node.endpoint()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "200m")
        .body(body)
        .unwrap();
    let answer = connect(&node).await.send_request(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    says("half a message", &status, Code::DeadlineExceeded, "DEADLINE");
    // A request stream that never ends.
    let mut cluster = ClusterClient::with_origin(untimed(&node).await, origin);
    let mut watch = cluster.watch(limited(v1::ClusterStatusRequest {}, "500m")).await.unwrap().into_inner();
    let status = loop {
        match watch.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ended without a status"),
            Err(status) => break status,
        }
    };
    says("watch", &status, Code::DeadlineExceeded, "DEADLINE");
    node.alive();
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_that_two_namespaces_have_is_refused_by_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start_with(&dir.path().join("data"), &[("TAFFRAIL_GATEWAY_DEFAULT_STORE", "")]).await;
    let mut admin = AdminClient::connect(format!("http://127.0.0.1:{}", node.ports.admin)).await.unwrap();
    let mut declare = async |namespace: &str| {
        let store = StoreDeclaration {
            namespace: namespace.into(),
            name: "orders".into(),
            replicas: 1,
            declared_by: namespace.into(),
            ..StoreDeclaration::default()
        };
        let answer = admin.declare_stores(DeclareStoresRequest { stores: vec![store] }).await.unwrap().into_inner();
        assert!(answer.results.iter().all(|r| r.reason.is_empty()), "{answer:?}");
    };
    let at = async |authority: &str| {
        let origin = format!("http://{authority}:2113").parse().unwrap();
        let channel = Endpoint::from_shared(node.endpoint()).unwrap().origin(origin).connect().await.unwrap();
        StreamsClient::new(channel)
    };
    let mut bare = at("orders").await;
    declare("default").await;
    node.serves("default/orders").await;
    bare.append(append("good")).await.expect("the only store with this name was not found");
    declare("team-b").await;
    node.serves("team-b/orders").await;
    let status =
        crate::common::until("the name to be ambiguous", async || match bare.clone().append(append("good")).await {
            Ok(_) => Err("it is taken for a store".into()),
            Err(status) => Ok(status),
        })
        .await;
    says("bare", &status, Code::InvalidArgument, "STORE_AMBIGUOUS");
    assert_eq!(status.get_details_error_info().unwrap().metadata["candidates"], "default/orders,team-b/orders");
    at("orders.team-b.svc")
        .await
        .append(append("other"))
        .await
        .expect("the store in the named namespace was not found");
    let streams = node.client().with_store("team-b/orders").unwrap().list_streams(v1::ListRequest::default()).await;
    let names: Vec<String> = streams.unwrap().streams.into_iter().map(|s| s.stream).collect();
    assert_eq!(names, ["other"], "an append went to a guessed store");
    node.alive();
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_appends_are_counted_under_their_store_and_the_runtime_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let mut streams = StreamsClient::connect(node.endpoint()).await.unwrap();
    streams.append(append("s")).await.unwrap();
    let expected = Some(v1::ExpectedRevision { kind: Some(Expect::NoStream(v1::Unit {})) });
    streams.append(v1::AppendRequest { expected, ..append("s") }).await.unwrap_err();
    streams.append(v1::AppendRequest { events: vec![], ..append("s") }).await.unwrap_err();
    let page = node.get("/metrics").await.unwrap();
    for reason in ["WRONG_REVISION", "INVALID_ARGUMENT"] {
        let line = format!("taffrail_appends_rejected_total{{reason=\"{reason}\",store=\"default/default\"}} 1");
        assert!(page.contains(&line), "no {line} in {page}");
    }
    for name in ["workers", "tasks", "queue_depth", "busy_seconds_total"] {
        assert!(page.contains(&format!("\ntaffrail_runtime_{name} ")), "no {name} in {page}");
    }
    node.alive();
    node.kill().await;
}
