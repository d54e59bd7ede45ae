//! Tests of the bounds on memory: requests whose callers have gone, and answers to readers that do not read.

use super::{
    fake::World,
    harness::{Port, config},
};
use crate::{CallMemory, Origin};
use bytes::Bytes;
use futures::StreamExt;
use std::{sync::atomic::Ordering, time::Duration};
use taffrail_client::{Error, EventBuilder, Expected};
use taffrail_proto::v1::{
    self, read_response::Kind, streams_client::StreamsClient, subscriptions_client::SubscriptionsClient,
};
use tonic::transport::{Channel, Endpoint};

/// Time limit for a step, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

async fn within<F: Future>(step: F) -> F::Output {
    tokio::time::timeout(PATIENCE, step).await.expect("the step ends in time")
}

async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Three events of a thousand bytes.
fn events() -> Vec<v1::NewEvent> {
    (0..3).map(|_| EventBuilder::new("T").bytes("", vec![7; 1000]).build()).collect()
}

#[tokio::test]
async fn an_append_counts_until_the_replica_has_ended_the_proposal_of_a_caller_that_has_gone() {
    let world = World::default();
    world.lead(Some(1));
    let node = world.node(1, &[1]);
    let port = Port::open_with(&node, Origin::Client, config(), CallMemory::new(8000, MIB)).await;
    let (client, replica) = (port.client().await, node.replica());
    replica.stall();
    let mut abandoned = replica.abandoned.subscribe();
    for n in 1..=2 {
        let client = client.clone();
        let call = taffrail_runtime::spawn(async move { client.append("s", Expected::Any, events()).await });
        until(|| replica.asked.load(Ordering::SeqCst) == n).await;
        call.abort();
        within(abandoned.wait_for(|gone| *gone == n)).await.unwrap();
    }
    let refused = within(client.append("s", Expected::Any, events())).await.unwrap_err();
    assert!(matches!(&refused, Error::Unavailable { reason, .. } if reason == "OVERLOADED"), "{refused:?}");
    assert!(port.memory.request_bytes() > 6000);
    assert_eq!(replica.asked.load(Ordering::SeqCst), 2);
    replica.resume();
    until(|| port.memory.request_bytes() == 0).await;
    within(client.append("s", Expected::Any, events())).await.unwrap();
}

/// A connection whose flow control stops the server after 64 KiB.
async fn narrow(port: &Port) -> Channel {
    let endpoint = Endpoint::from_shared(port.address.clone()).unwrap();
    endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535).connect().await.unwrap()
}

fn all() -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) })
}

fn read() -> v1::ReadRequest {
    v1::ReadRequest { selector: all(), ..v1::ReadRequest::default() }
}

async fn count(mut pages: tonic::Streaming<v1::ReadResponse>) -> usize {
    let mut events = 0;
    while let Some(message) = within(pages.next()).await {
        if let Some(Kind::Events(page)) = message.unwrap().kind {
            events += page.events.len();
        }
    }
    events
}

#[tokio::test]
async fn readers_that_do_not_read_stay_within_the_memory_and_others_go_on() {
    const EVENTS: usize = 2048;
    const SLOW: usize = 170;
    const BOUND: usize = 32 * MIB;
    let world = World::default();
    world.lead(Some(1));
    let node = world.node(1, &[1]);
    for _ in 0..EVENTS {
        world.data.append_data("s", Bytes::from(vec![7; 4 << 10]));
    }
    let port = Port::open_with(&node, Origin::Client, config(), CallMemory::new(64 * MIB, BOUND)).await;
    let (mut reads, mut subscriptions) = (Vec::new(), Vec::new());
    for _ in 0..SLOW / 2 {
        let channel = narrow(&port).await;
        let subscription = v1::SubscribeRequest {
            selector: all(),
            start: Some(v1::start::Kind::FromStart(v1::Unit {}).into()),
            ..v1::SubscribeRequest::default()
        };
        subscriptions.push(within(SubscriptionsClient::new(channel).subscribe(subscription)).await.unwrap());
        let channel = narrow(&port).await;
        reads.push(within(StreamsClient::new(channel).read(read())).await.unwrap().into_inner());
    }
    // Each reader has a page, and none has read any.
    until(|| port.memory.answer_bytes() > SLOW / 2 * (40 << 10)).await;
    let mut fast = StreamsClient::new(narrow(&port).await);
    assert_eq!(count(within(fast.read(read())).await.unwrap().into_inner()).await, EVENTS);
    let taken = world.data.bytes_read.load(Ordering::SeqCst);
    // Twice the store: the fast reader may read a page again after the page did not fit.
    let allowed = BOUND + 2 * EVENTS * (4 << 10) + SLOW * 65_535;
    assert!(taken <= allowed, "{taken} bytes were taken from the store, at most {allowed} fit");
    assert!(port.memory.answer_bytes() <= BOUND);
    // A reader that reads on gets everything.
    assert_eq!(count(reads.pop().unwrap()).await, EVENTS);
    drop((reads, subscriptions));
    until(|| port.memory.answer_bytes() == 0).await;
}
