//! Stops: hung calls do not delay the end of the process beyond `shutdown.grace_ms`.

use super::node::Node;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use taffrail_client::{EventBuilder, Expected, v1};
use taffrail_proto::v1::streams_client::StreamsClient;
use tonic::body::Body;

const GRACE: Duration = Duration::from_secs(4);
/// Events of one megabyte; together larger than all buffers between the node and a client that does not read.
const EVENTS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_more_does_not_hold_up_the_end_beyond_the_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let grace = GRACE.as_millis().to_string();
    let node = Node::start_with(&data, &[("TAFFRAIL_SHUTDOWN_GRACE_MS", &grace)]).await;
    node.serves("default").await;
    let client = node.client();
    for _ in 0..EVENTS {
        let event = EventBuilder::new("T").bytes("application/octet-stream", vec![b'x'; 1 << 20]).build();
        client.append("large", Expected::Any, vec![event]).await.unwrap();
    }
    // Two clients read only the head of the answer: one on the client port, one on the peer port.
    let mut hung = Vec::new();
    for port in [node.ports.clients, node.ports.peers] {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let channel = tower::service_fn(move |request: http::Request<Body>| sender.clone().send_request(request));
        let mut client = StreamsClient::with_origin(channel, node.endpoint().parse().unwrap());
        let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream("large".into())) };
        let request = v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() };
        let answer = client.read(request).await.unwrap();
        hung.push((client, answer));
    }
    let (status, took, said) = node.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}: {said}");
    assert!(said.contains("calls did not end in time"), "no call hung: {said}");
    assert!(said.contains("a server did not end in time"), "no call hung on the peer port: {said}");
    assert!(took < GRACE, "the stop took {took:?}: {said}");
    drop(hung);
    let node = Node::start(&data).await;
    assert_eq!(node.client().read_stream("large", 0).await.unwrap().len(), EVENTS);
    node.kill().await;
}
