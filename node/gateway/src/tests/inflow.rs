//! Messages that are under way are bounded in sum.

use crate::inflow::BoundInflow;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use std::convert::Infallible;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceExt};

const APPEND: &str = "/taffrail.v1.Streams/Append";

/// Reads the message to its end, as tonic does before a service sees it.
async fn gather(request: Request<Body>) -> Result<Response<Body>, Status> {
    request.into_body().collect().await?;
    Ok(Response::new(Body::empty()))
}

fn whole(path: &str, bytes: usize) -> Request<Body> {
    Request::post(path).body(Body::new(Full::new(Bytes::from(vec![0; bytes])))).unwrap()
}

/// One whose message comes to here and no further.
fn stuck(bytes: usize) -> Request<Body> {
    let begun = futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; bytes])))]);
    Request::post(APPEND).body(Body::new(StreamBody::new(begun.chain(futures::stream::pending())))).unwrap()
}

#[tokio::test]
async fn a_call_beyond_the_bound_is_refused_and_gives_back_what_it_took() {
    let mut service = BoundInflow::new(1000).layer(tower::service_fn(gather));
    // Waits for ever with 600 bytes in memory.
    let mut slow = service.ready().await.unwrap().call(stuck(600));
    assert!(futures::poll!(&mut slow).is_pending());
    service.clone().oneshot(whole(APPEND, 400)).await.unwrap();
    for _ in 0..3 {
        let status = service.clone().oneshot(whole(APPEND, 401)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
        assert!(status.get_details_retry_info().is_some());
    }
    service.clone().oneshot(whole("/taffrail.peer.v1.Peer/Call", 5000)).await.expect("peers' frames have other bounds");
    drop(slow);
    service.clone().oneshot(whole(APPEND, 1000)).await.unwrap();
}

#[tokio::test]
async fn a_message_counts_until_its_call_has_ended() {
    let held = tower::service_fn(|request: Request<Body>| async {
        gather(request).await?;
        std::future::pending::<Result<Response<Body>, Status>>().await
    });
    let mut service = BoundInflow::new(1000).layer(held);
    let mut first = service.ready().await.unwrap().call(whole(APPEND, 600));
    assert!(futures::poll!(&mut first).is_pending());
    let status = service.clone().oneshot(whole(APPEND, 500)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    drop(first);
    let mut next = service.ready().await.unwrap().call(whole(APPEND, 500));
    assert!(futures::poll!(&mut next).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_never_ends_is_given_up_and_gives_back_what_it_took() {
    let service = BoundInflow::new(1000).layer(tower::service_fn(gather));
    let status = service.clone().oneshot(stuck(600)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "DEADLINE");
    service.oneshot(whole(APPEND, 1000)).await.unwrap();
}
