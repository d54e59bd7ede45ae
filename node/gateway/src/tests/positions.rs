//! Tests of reads that name a position: a position that the replica must have applied, and starts beyond the end.

use super::harness::Cluster;
use std::time::Duration;
use taffrail_client::{
    Client, Error,
    v1::{self, start::Kind as Start},
};

/// Time limit of a test's wait, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time in which a read without obstacle has long ended.
const LONG: Duration = Duration::from_millis(300);

fn all() -> v1::ReadRequest {
    let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() }
}

fn at_least(position: u64) -> v1::ReadRequest {
    let needs = vec![i32::from(v1::Feature::AtLeastPosition).unsigned_abs()];
    v1::ReadRequest { at_least_position: Some(position), needs, ..all() }
}

async fn positions(client: &Client, request: v1::ReadRequest) -> Result<Vec<u64>, Error> {
    let events = client.read(request).await?.rest().await?;
    Ok(events.into_iter().map(|event| event.position).collect())
}

fn is_ahead(error: &Error) -> bool {
    matches!(error, Error::Invalid { reason: Some(reason), .. } if reason == "POSITION_AHEAD")
}

#[tokio::test]
async fn a_read_waits_until_the_replica_has_applied_the_position() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    let replica = cluster.nodes[0].replica();
    for (node, last) in [(1, 4), (2, 5)] {
        let client = cluster.client(node).await;
        replica.lag();
        cluster.world.data.fill("s", 1);
        let read = positions(&client, at_least(last));
        tokio::pin!(read);
        assert!(tokio::time::timeout(LONG, &mut read).await.is_err(), "the replica has not applied the position");
        replica.catch_up();
        let read = tokio::time::timeout(PATIENCE, read).await.expect("the read ends in time");
        assert_eq!(read.unwrap().last(), Some(&last), "through node {node}");
    }
}

#[tokio::test]
async fn an_applied_position_needs_no_answer_of_the_leader() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    cluster.nodes[0].replica().hang();
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let read = tokio::time::timeout(PATIENCE, positions(&client, at_least(3))).await;
        assert_eq!(read.expect("the read ends in time").unwrap(), [1, 2, 3]);
    }
}

#[tokio::test]
async fn the_wait_for_a_position_ends_with_the_deadline_of_the_call() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("s", 3);
    cluster.nodes[0].replica().lag();
    cluster.world.data.fill("s", 1);
    let address = cluster.clients[0].address.clone();
    let mut streams = v1::streams_client::StreamsClient::connect(address).await.unwrap();
    let mut request = tonic::Request::new(at_least(4));
    request.set_timeout(LONG);
    let status = tokio::time::timeout(PATIENCE, streams.read(request)).await.expect("the call ends").unwrap_err();
    let code = status.code();
    assert!(matches!(code, tonic::Code::Unavailable | tonic::Code::DeadlineExceeded), "{status:?}");
}

#[tokio::test]
async fn a_position_beyond_the_end_of_the_store_is_refused_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        assert!(is_ahead(&positions(&client, at_least(4)).await.unwrap_err()));
        let from = |start: Start| v1::ReadRequest { start: Some(start.into()), ..all() };
        for beyond in [Start::FromPosition(5), Start::AfterPosition(4), Start::FromPosition(1 << 40)] {
            assert!(is_ahead(&positions(&client, from(beyond.clone())).await.unwrap_err()), "{beyond:?}");
            let request = v1::SubscribeRequest {
                selector: all().selector,
                start: Some(beyond.clone().into()),
                ..v1::SubscribeRequest::default()
            };
            let mut subscription = client.subscribe(request).await.unwrap();
            let ended = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("an answer in time");
            assert!(is_ahead(&ended.unwrap_err()), "{beyond:?}");
        }
        // The next position of the store is no error, and a backward read begins at the end.
        for next in [Start::FromPosition(4), Start::AfterPosition(3)] {
            assert_eq!(positions(&client, from(next)).await.unwrap(), [0_u64; 0]);
        }
        let backward = v1::ReadRequest { direction: v1::Direction::Backward.into(), ..from(Start::FromPosition(9)) };
        assert_eq!(positions(&client, backward).await.unwrap(), [3, 2, 1]);
    }
}
