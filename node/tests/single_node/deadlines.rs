//! Deadlines: an expired deadline has a specific reason, and answers under a short deadline remain true afterwards.

use super::node::Node;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use taffrail_client::{Error, EventBuilder, Expected, v1};
use taffrail_proto::v1::streams_client::StreamsClient;
use tonic::{Code, Request, Status, body::Body};
use tonic_types::StatusExt;

const CALLS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_deadline_is_a_reason_of_its_own_and_nothing_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    // Not tonic's channel, whose own timer would answer before the node does.
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", node.ports.clients)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let channel = tower::service_fn(move |request: http::Request<Body>| sender.clone().send_request(request));
    let client = StreamsClient::with_origin(channel, node.endpoint().parse().unwrap());
    for timeout in ["0S", "0n", "1n", "1u", "999u"] {
        let events = vec![EventBuilder::new("T").build()];
        let mut request =
            Request::new(v1::AppendRequest { stream: "late".into(), events, ..v1::AppendRequest::default() });
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        let status = client.clone().append(request).await.unwrap_err();
        passed(timeout, &status);
        let mut request = Request::new(v1::ListRequest::default());
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        let status = client.clone().list(request).await.unwrap_err();
        passed(timeout, &status);
    }
    assert!(node.client().list_streams(v1::ListRequest::default()).await.unwrap().streams.is_empty());
    node.alive();
    node.kill().await;
}

fn passed(timeout: &str, status: &Status) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{timeout}: {status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("taffrail.io", "DEADLINE"), "{timeout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_a_short_deadline_is_true() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let (mut stored, mut absent, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..CALLS {
        let event = EventBuilder::new("T").build();
        let id = event.id.clone();
        let client = node.client().with_timeout(Duration::from_micros(200 * (n as u64 % 40)));
        match client.append("short", Expected::Any, vec![event]).await {
            Ok(_) => stored.push(id),
            Err(Error::Deadline { .. }) => absent.push(id),
            Err(Error::OutcomeUnknown { .. }) => unknown.push(id),
            // The connection itself was not made in time.
            Err(Error::Unavailable { proposed: taffrail_client::Proposed::No, .. }) => absent.push(id),
            Err(error) => panic!("{error:?}"),
        }
    }
    let found: Vec<String> = match node.client().read_stream("short", 0).await {
        Ok(events) => events.into_iter().map(|e| e.id).collect(),
        Err(Error::NotFound { .. }) => Vec::new(),
        Err(error) => panic!("{error:?}"),
    };
    println!("{} stored, {} past their deadline, {} unknown", stored.len(), absent.len(), unknown.len());
    assert!(!absent.is_empty(), "no deadline passed");
    assert!(stored.iter().all(|id| found.contains(id)), "an acknowledged event is not stored");
    assert!(absent.iter().all(|id| !found.contains(id)), "an append that was not proposed is stored");
    let mut once = found.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), found.len(), "an event is stored twice");
    node.alive();
    node.kill().await;
}
