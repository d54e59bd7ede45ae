//! Tests of calls past their deadline, by a client without a timer, so that every status comes from the server.

use super::{
    fake::FakeReplica,
    harness::{Cluster, Port},
};
use futures::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use taffrail_proto::v1::{
    self, cluster_client::ClusterClient, streams_client::StreamsClient, subscriptions_client::SubscriptionsClient,
};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

/// Time limit for an answer, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);

type Sender = hyper::client::conn::http2::SendRequest<Body>;

/// Opens a connection without a timer on the side of the client.
async fn connect(port: &Port) -> Sender {
    let address = port.address.trim_start_matches("http://");
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    drop(taffrail_runtime::spawn(connection));
    sender
}

type Channel = tower::util::BoxCloneService<Request<Body>, Response<Incoming>, hyper::Error>;

async fn channel(port: &Port) -> Channel {
    let sender = connect(port).await;
    let send = move |request: Request<Body>| sender.clone().send_request(request);
    tower::util::BoxCloneService::new(tower::service_fn(send))
}

fn limited<T>(message: T, timeout: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn append() -> v1::AppendRequest {
    let events = vec![taffrail_client::EventBuilder::new("T").build()];
    v1::AppendRequest { stream: "s".into(), events, ..v1::AppendRequest::default() }
}

fn all() -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) })
}

fn says(what: &str, status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what}: no reason: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("taffrail.io", reason), "{what}");
}

fn passed(what: &str, status: &Status) {
    says(what, status, Code::DeadlineExceeded, "DEADLINE");
}

async fn hanging(count: u64) -> (Cluster, Arc<FakeReplica>) {
    let cluster = Cluster::start(count, &[1]).await;
    let replica = cluster.nodes[0].replica();
    replica.hang();
    (cluster, replica)
}

#[tokio::test]
async fn calls_without_an_answer_are_told_that_their_time_is_over_and_why() {
    let (cluster, _) = hanging(1).await;
    let channel = channel(&cluster.clients[0]).await;
    let mut client = StreamsClient::with_origin(channel, cluster.clients[0].address.parse().unwrap());
    // Timeouts around the millisecond steps of timers: the timers of tonic and of the layer fire in the same step.
    for timeout in ["1m", "1001u", "1500u", "2m", "3m", "5m", "10m", "50m", "120m"] {
        for _ in 0..5 {
            let read = v1::ReadRequest { selector: all(), ..v1::ReadRequest::default() };
            passed(timeout, &client.read(limited(read, timeout)).await.unwrap_err());
            passed(timeout, &client.list(limited(v1::ListRequest::default(), timeout)).await.unwrap_err());
        }
    }
    let text = cluster.clients[0].metrics.render();
    let line = "taffrail_calls_total{code=\"DeadlineExceeded\",method=\"ListStreams\"} ";
    let counted: u32 = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or("0").parse().unwrap();
    // On a busy machine the shortest timeouts end before the service, which counts the call, has begun.
    assert!((5..=45).contains(&counted), "{text}");
}

#[tokio::test]
async fn an_append_that_may_have_been_proposed_is_unknown_and_never_called_absent() {
    let (cluster, replica) = hanging(2).await;
    // Node 1 leads, node 2 forwards.
    for port in &cluster.clients {
        let mut client = StreamsClient::with_origin(channel(port).await, port.address.parse().unwrap());
        for timeout in ["20m", "50m", "120m"] {
            let before = replica.asked.load(Ordering::SeqCst);
            let status = client.append(limited(append(), timeout)).await.unwrap_err();
            if replica.asked.load(Ordering::SeqCst) == before {
                // On a busy machine the deadline can pass before the append reaches the leader.
                continue;
            }
            says(timeout, &status, Code::Unknown, "OUTCOME_UNKNOWN");
        }
        says("2 s", &client.append(limited(append(), "2S")).await.unwrap_err(), Code::Unknown, "OUTCOME_UNKNOWN");
    }
    assert!(replica.asked.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_message_that_does_not_arrive_in_time_was_not_proposed() {
    let cluster = Cluster::start(1, &[1]).await;
    let mut sender = connect(&cluster.clients[0]).await;
    // The frame announces a message of 100 bytes, but only two bytes follow.
    let begun =
        futures::stream::iter([Ok::<_, Infallible>(Frame::data(bytes::Bytes::from_static(&[0, 0, 0, 0, 100, 1, 2])))]);
    let body = Body::new(StreamBody::new(begun.chain(futures::stream::pending())));
    let request = Request::post(format!("{}/taffrail.v1.Streams/Append", cluster.clients[0].address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "100m")
        .body(body)
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    passed("half a message", &Status::from_header_map(answer.headers()).unwrap());
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stream_without_an_end_of_its_own_ends_with_its_deadline() {
    let cluster = Cluster::start(1, &[1]).await;
    let origin: http::Uri = cluster.clients[0].address.parse().unwrap();
    let mut client = ClusterClient::with_origin(channel(&cluster.clients[0]).await, origin.clone());
    let mut watch = client.watch(limited(v1::ClusterStatusRequest {}, "300m")).await.unwrap().into_inner();
    let end = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    };
    passed("watch", &tokio::time::timeout(PATIENCE, end).await.unwrap());
    let mut client = SubscriptionsClient::with_origin(channel(&cluster.clients[0]).await, origin);
    let request = v1::SubscribeRequest { selector: all(), ..v1::SubscribeRequest::default() };
    let mut events = client.subscribe(limited(request, "300m")).await.unwrap().into_inner();
    let end = async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    };
    passed("subscription", &tokio::time::timeout(PATIENCE, end).await.unwrap());
}

#[tokio::test]
async fn what_is_answered_in_time_is_whole() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("s", 600);
    let channel = channel(&cluster.clients[0]).await;
    let mut client = StreamsClient::with_origin(channel, cluster.clients[0].address.parse().unwrap());
    let read = v1::ReadRequest { selector: all(), ..v1::ReadRequest::default() };
    let pages: Vec<_> = client.read(limited(read, "30S")).await.unwrap().into_inner().collect().await;
    let count = |message: Result<v1::ReadResponse, Status>| match message.unwrap().kind {
        Some(v1::read_response::Kind::Events(page)) => page.events.len(),
        Some(v1::read_response::Kind::Checkpoint(_) | v1::read_response::Kind::End(_)) | None => 0,
    };
    assert_eq!(pages.into_iter().map(count).sum::<usize>(), 600);
    client.append(limited(append(), "30S")).await.unwrap();
    // The trailers of a call with a deadline arrive too.
    let mut sender = connect(&cluster.clients[0]).await;
    let request = Request::post(format!("{}/taffrail.v1.Streams/List", cluster.clients[0].address))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "30S")
        .body(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5]))))
        .unwrap();
    let trailers: HeaderMap =
        sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().trailers().unwrap().clone();
    assert_eq!(trailers["grpc-status"], "0");
}
