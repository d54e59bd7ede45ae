//! Tests of resume tokens, and of the store id that reads and subscriptions carry.

use super::{
    fake::STORE_ID,
    harness::{Cluster, config},
};
use bytes::Bytes;
use std::time::Duration;
use taffrail_client::{Client, Error, Item, Rejection, RetryPolicy, v1};
use taffrail_core::ids::StoreId;
use taffrail_proto::v1::{
    read_response, selector, start::Kind as Start, streams_client::StreamsClient, subscribe_response,
    subscriptions_client::SubscriptionsClient,
};

/// Time limit for a message, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);
const BACKWARD: i32 = v1::Direction::Backward as i32;

fn stream() -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(selector::Kind::Stream("s".into())) })
}

fn all() -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(selector::Kind::All(v1::Unit {})) })
}

fn from(token: &Bytes) -> Option<v1::Start> {
    Some(Start::Resume(token.clone()).into())
}

/// Reads to the end, and returns the revisions, the token of the first page and the token of the end.
async fn read(cluster: &Cluster, node: usize, request: v1::ReadRequest) -> (Vec<u64>, Bytes, Bytes) {
    let mut streams = StreamsClient::connect(cluster.clients[node - 1].address.clone()).await.unwrap();
    let mut messages = streams.read(request).await.unwrap().into_inner();
    let (mut revisions, mut first) = (Vec::new(), Bytes::new());
    loop {
        match messages.message().await.unwrap().unwrap().kind.unwrap() {
            read_response::Kind::Events(page) => {
                assert_eq!((page.store_id, page.lineage), (STORE_ID.to_string(), 0));
                if first.is_empty() {
                    first = page.resume;
                }
                revisions.extend(page.events.into_iter().map(|e| e.revision));
            }
            read_response::Kind::Checkpoint(checkpoint) => panic!("{checkpoint:?}"),
            read_response::Kind::End(end) => return (revisions, first, end.resume),
        }
    }
}

#[tokio::test]
async fn a_read_continues_after_any_page_without_gap_or_duplicate() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 700);
    // Node 1 has the replica, node 2 forwards. A token of a node is valid at every node.
    for (node, other) in [(1, 2), (2, 1)] {
        for selector in [stream(), all()] {
            let request = v1::ReadRequest { selector, ..v1::ReadRequest::default() };
            let (_, first, end) = read(&cluster, node, request.clone()).await;
            let rest = v1::ReadRequest { start: from(&first), ..request.clone() };
            assert_eq!(read(&cluster, other, rest).await.0, (256..700).collect::<Vec<_>>());
            let nothing = v1::ReadRequest { start: from(&end), ..request.clone() };
            assert_eq!(read(&cluster, other, nothing).await.0, [0_u64; 0]);
            let limited = v1::ReadRequest { limit: 300, ..request.clone() };
            let (_, _, end) = read(&cluster, node, limited).await;
            let rest = v1::ReadRequest { start: from(&end), limit: 2, ..request.clone() };
            assert_eq!(read(&cluster, other, rest).await.0, [300, 301]);
            let backward = v1::ReadRequest { direction: BACKWARD, ..request };
            let (_, first, _) = read(&cluster, node, backward.clone()).await;
            let rest = v1::ReadRequest { start: from(&first), ..backward.clone() };
            assert_eq!(read(&cluster, other, rest).await.0, (0..444).rev().collect::<Vec<_>>());
            let limited = v1::ReadRequest { limit: 300, ..backward.clone() };
            let (_, _, end) = read(&cluster, node, limited).await;
            let rest = v1::ReadRequest { start: from(&end), limit: 2, ..backward };
            assert_eq!(read(&cluster, other, rest).await.0, [399, 398]);
        }
    }
}

/// Subscribes and returns the revisions up to the mark `caught_up`, and the tokens of the confirmation and of the mark.
async fn follow(cluster: &Cluster, node: usize, selector: Option<v1::Selector>, start: Option<v1::Start>) -> Followed {
    let mut subscriptions = SubscriptionsClient::connect(cluster.clients[node - 1].address.clone()).await.unwrap();
    let request = v1::SubscribeRequest { selector, start, ..v1::SubscribeRequest::default() };
    let mut messages = subscriptions.subscribe(request).await.unwrap().into_inner();
    let mut followed = Followed::default();
    loop {
        let message = tokio::time::timeout(PATIENCE, messages.message()).await.expect("a message in time");
        match message.unwrap().unwrap().kind.unwrap() {
            subscribe_response::Kind::Confirmed(confirmed) => {
                assert_eq!((confirmed.store_id, confirmed.lineage), (STORE_ID.to_string(), 0));
                followed.confirmed = confirmed.resume;
            }
            subscribe_response::Kind::Events(page) => {
                assert_eq!(page.store_id, STORE_ID.to_string());
                followed.revisions.extend(page.events.into_iter().map(|e| e.revision));
            }
            subscribe_response::Kind::CaughtUp(mark) => {
                followed.caught_up = mark.resume;
                return followed;
            }
            subscribe_response::Kind::Checkpoint(_) | subscribe_response::Kind::FellBehind(_) => {}
        }
    }
}

#[derive(Default)]
struct Followed {
    revisions: Vec<u64>,
    confirmed: Bytes,
    caught_up: Bytes,
}

#[tokio::test]
async fn a_subscription_continues_after_the_confirmation_and_after_marks() {
    let cluster = Cluster::start(2, &[1]).await;
    let mut stored = 0;
    for (node, other) in [(1, 2), (2, 1)] {
        for selector in [stream(), all()] {
            cluster.world.data.fill("s", 10);
            stored += 10;
            let from_end = follow(&cluster, node, selector.clone(), Some(Start::FromEnd(v1::Unit {}).into())).await;
            assert_eq!(from_end.revisions, [0_u64; 0]);
            cluster.world.data.fill("s", 3);
            let new: Vec<u64> = (stored..stored + 3).collect();
            stored += 3;
            for token in [&from_end.confirmed, &from_end.caught_up] {
                assert_eq!(follow(&cluster, other, selector.clone(), from(token)).await.revisions, new);
            }
            let everything = follow(&cluster, node, selector.clone(), None).await;
            assert_eq!(everything.revisions, (0..stored).collect::<Vec<_>>());
            assert_eq!(follow(&cluster, other, selector, from(&everything.caught_up)).await.revisions, [0_u64; 0]);
        }
    }
}

async fn refusals(client: &Client, selector: Option<v1::Selector>, start: Option<v1::Start>) -> [Error; 2] {
    let read = v1::ReadRequest { selector: selector.clone(), start: start.clone(), ..v1::ReadRequest::default() };
    let subscribe = v1::SubscribeRequest { selector, start, ..v1::SubscribeRequest::default() };
    [client.read(read).await.err().unwrap(), client.subscribe(subscribe).await.err().unwrap()]
}

#[tokio::test]
async fn a_token_of_another_selector_or_store_is_refused() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 10);
    let request = v1::ReadRequest { selector: stream(), limit: 5, ..v1::ReadRequest::default() };
    let (_, _, token) = read(&cluster, 1, request).await;
    let rejected = |errors: [Error; 2], wanted: &str| {
        for error in errors {
            let Error::Rejected(Rejection::Other { reason, .. }) = &error else { panic!("{error:?}") };
            assert_eq!(reason, wanted);
        }
    };
    let other_stream = Some(v1::Selector { kind: Some(selector::Kind::Stream("t".into())) });
    for node in [1, 2] {
        let client = cluster.client(node).await;
        rejected(refusals(&client, all(), from(&token)).await, "SELECTOR_CHANGED");
        rejected(refusals(&client, other_stream.clone(), from(&token)).await, "SELECTOR_CHANGED");
        let damaged = Bytes::from([&token[..20], b"x", &token[21..]].concat());
        for error in refusals(&client, stream(), from(&damaged)).await {
            assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == "start.resume"), "{error:?}");
        }
    }
    for node in &cluster.nodes {
        *node.store_id.lock().unwrap() = StoreId::new(uuid::Uuid::from_u128(8));
    }
    for node in [1, 2] {
        rejected(refusals(&cluster.client(node).await, stream(), from(&token)).await, "STORE_CHANGED");
    }
}

#[tokio::test]
async fn a_resuming_subscription_does_not_go_on_in_a_store_created_again() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("s", 10);
    let request = v1::SubscribeRequest { selector: stream(), ..v1::SubscribeRequest::default() };
    let client = cluster.client(1).await;
    let mut subscription = client.subscribe_resuming(request, RetryPolicy::default()).await.unwrap();
    while !matches!(subscription.next().await.unwrap(), Some(Item::CaughtUp(_))) {}
    *cluster.nodes[0].store_id.lock().unwrap() = StoreId::new(uuid::Uuid::from_u128(8));
    // The node ends the subscription, and the client connects again. The port still accepts calls.
    cluster.nodes[0].replica().stop();
    let error = tokio::time::timeout(PATIENCE, async {
        loop {
            match subscription.next().await {
                Ok(Some(Item::Event(event))) => panic!("an event of the new store: {event:?}"),
                Ok(item) => assert!(item.is_some(), "the subscription ended without a word"),
                Err(error) => break error,
            }
        }
    });
    let error = error.await.expect("the subscription ends in time");
    assert!(
        matches!(&error, Error::Rejected(Rejection::Other { reason, .. }) if reason == "STORE_CHANGED"),
        "{error:?}"
    );
}

#[tokio::test]
async fn stores_are_listed_in_pages_with_filters() {
    let cluster = Cluster::with(1, &[1], config()).await;
    for namespace in ["team-b", "team-c", "team-d"] {
        cluster.world.declare_in(namespace);
    }
    let client = cluster.client(1).await;
    let list = async |request: v1::ListStoresRequest| {
        let (mut names, mut request) = (Vec::new(), request);
        loop {
            let page = client.list_stores(request.clone()).await.unwrap();
            names.push(page.stores.iter().map(|s| format!("{}/{}", s.namespace, s.name)).collect::<Vec<_>>().join(" "));
            if page.next_page_token.is_empty() {
                return names;
            }
            request.page_token = page.next_page_token;
        }
    };
    let of = |namespace: &str, name_prefix: &str| v1::ListStoresRequest {
        include_retained: true,
        namespace: namespace.into(),
        name_prefix: name_prefix.into(),
        page_size: 2,
        ..v1::ListStoresRequest::default()
    };
    assert_eq!(list(of("", "")).await, ["default/old default/orders", "team-b/orders team-c/orders", "team-d/orders"]);
    assert_eq!(list(of("", "ord")).await, ["default/orders team-b/orders", "team-c/orders team-d/orders", ""]);
    assert_eq!(list(of("team-c", "")).await, ["team-c/orders"]);
    assert_eq!(list(of("team-c", "old")).await, [""]);
    assert_eq!(client.stores(true).await.unwrap().len(), 5);
    for bad in ["x", "a/b", "default/orders/7", "/orders/67e55044-10b1-426f-9247-bb680e5fe0c8"] {
        let request = v1::ListStoresRequest { page_token: bad.into(), ..v1::ListStoresRequest::default() };
        let error = client.list_stores(request).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == "page_token"), "{bad}: {error:?}");
    }
}
