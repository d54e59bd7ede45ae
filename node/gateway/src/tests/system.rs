//! Tests of `include_system`: reads and subscriptions of all events leave out the streams of the store itself.

use super::harness::Cluster;
use std::time::Duration;
use taffrail_client::{Client, Item, Subscription, v1};
use taffrail_proto::v1::{read_response, start::Kind as Start, streams_client::StreamsClient};

/// Time limit for an item, so that a test fails instead of waiting for ever.
const PATIENCE: Duration = Duration::from_secs(30);

fn needs() -> Vec<u32> {
    vec![i32::from(v1::Feature::IncludeSystem).unsigned_abs()]
}

fn all() -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) })
}

fn read_all() -> v1::ReadRequest {
    v1::ReadRequest { selector: all(), ..v1::ReadRequest::default() }
}

fn with_system() -> v1::ReadRequest {
    v1::ReadRequest { include_system: true, needs: needs(), ..read_all() }
}

async fn read(client: &Client, request: v1::ReadRequest) -> (Vec<u64>, v1::ReadEnd) {
    let mut events = client.read(request).await.unwrap();
    let mut positions = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        positions.push(event.position);
    }
    (positions, events.end().unwrap().clone())
}

/// Positions 1 to 3 and 604 to 605 belong to the stream `s`, all others up to 610 to streams of the store itself.
async fn cluster() -> Cluster {
    let cluster = Cluster::start(2, &[1]).await;
    let data = &cluster.world.data;
    for (stream, events) in [("s", 3), ("$settings", 600), ("s", 2), ("$$s", 5)] {
        data.fill(stream, events);
    }
    cluster
}

#[tokio::test]
async fn a_read_of_all_events_leaves_out_system_streams_unless_included() {
    let cluster = cluster().await;
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let (positions, end) = read(&client, read_all()).await;
        assert_eq!(positions, [1, 2, 3, 604, 605], "through node {node}");
        assert_eq!((end.as_of, end.next), (610, Some(611)));
        let backward = v1::ReadRequest { direction: v1::Direction::Backward.into(), ..read_all() };
        assert_eq!(read(&client, backward).await.0, [605, 604, 3, 2, 1]);
        let (positions, end) = read(&client, v1::ReadRequest { limit: 4, ..read_all() }).await;
        assert_eq!((positions, end.next), (vec![1, 2, 3, 604], Some(605)));
        let (positions, end) = read(&client, v1::ReadRequest { limit: 3, ..read_all() }).await;
        assert_eq!(positions, [1, 2, 3]);
        let rest = v1::ReadRequest { start: Some(Start::Resume(end.resume).into()), ..read_all() };
        assert_eq!(read(&client, rest).await.0, [604, 605]);
        assert_eq!(read(&client, with_system()).await.0, (1..=610).collect::<Vec<_>>());
        let selector = Some(v1::Selector { kind: Some(v1::selector::Kind::Stream("$settings".into())) });
        let (positions, _) = read(&client, v1::ReadRequest { selector, ..v1::ReadRequest::default() }).await;
        assert_eq!(positions.len(), 600, "a stream of the store is read by its name");
    }
}

#[tokio::test]
async fn a_backward_read_ends_at_a_hidden_first_event() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("$settings", 2);
    cluster.world.data.fill("s", 1);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let backward = v1::ReadRequest { direction: v1::Direction::Backward.into(), ..read_all() };
        let (positions, end) = read(&client, backward).await;
        assert_eq!((positions, end.next), (vec![3], None), "through node {node}");
    }
}

#[tokio::test]
async fn a_token_of_a_read_with_system_streams_is_refused_without() {
    let cluster = cluster().await;
    let client = cluster.client(1).await;
    let (_, end) = read(&client, v1::ReadRequest { limit: 3, ..with_system() }).await;
    let start = Some(v1::Start::from(Start::Resume(end.resume)));
    let rest = read(&client, v1::ReadRequest { start: start.clone(), ..with_system() }).await.0;
    assert_eq!(rest, (4..=610).collect::<Vec<_>>());
    let refused = client.read(v1::ReadRequest { start, ..read_all() }).await.err().unwrap();
    assert!(refused.to_string().contains("SELECTOR_CHANGED"), "{refused:?}");
}

#[tokio::test]
async fn a_read_reports_its_progress_through_many_hidden_events() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 1);
    cluster.world.data.fill("$settings", 9_000);
    cluster.world.data.fill("s", 1);
    for port in &cluster.clients {
        let mut streams = StreamsClient::connect(port.address.clone()).await.unwrap();
        let mut messages = streams.read(read_all()).await.unwrap().into_inner();
        let (mut positions, mut marks) = (Vec::new(), Vec::new());
        while let Some(message) = messages.message().await.unwrap() {
            match message.kind.unwrap() {
                read_response::Kind::Events(page) => positions.extend(page.events.into_iter().map(|e| e.position)),
                read_response::Kind::Checkpoint(mark) => marks.push(mark),
                read_response::Kind::End(end) => assert_eq!(end.next, Some(9_003)),
            }
        }
        assert_eq!(positions, [1, 9_002]);
        assert_eq!(marks.len(), 2, "a mark every 4,096 positions: {marks:?}");
        let start = Some(v1::Start::from(Start::Resume(marks[1].resume.clone())));
        let mut rest = streams.read(v1::ReadRequest { start, ..read_all() }).await.unwrap().into_inner();
        let first = rest.message().await.unwrap().unwrap().kind.unwrap();
        assert!(matches!(&first, read_response::Kind::Events(page) if page.events[0].position == 9_002), "{first:?}");
    }
}

async fn next(subscription: &mut Subscription) -> Item {
    let item = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("the next item comes in time");
    item.unwrap().unwrap()
}

/// Returns the positions of the events up to the mark `CaughtUp`, and the position of the mark.
async fn catch_up(subscription: &mut Subscription) -> (Vec<u64>, u64) {
    let mut positions = Vec::new();
    loop {
        match next(subscription).await {
            Item::Event(event) => positions.push(event.position),
            Item::CaughtUp(position) => return (positions, position),
            Item::Confirmed(_) | Item::Checkpoint(_) | Item::FellBehind(_) => {}
        }
    }
}

#[tokio::test]
async fn a_subscription_to_all_events_leaves_out_system_streams_unless_included() {
    let cluster = cluster().await;
    let request = |include_system: bool| v1::SubscribeRequest {
        selector: all(),
        include_system,
        needs: if include_system { needs() } else { Vec::new() },
        ..v1::SubscribeRequest::default()
    };
    let mut last = 610;
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let mut plain = client.subscribe(request(false)).await.unwrap();
        let mut system = client.subscribe(request(true)).await.unwrap();
        let (positions, end) = catch_up(&mut plain).await;
        assert_eq!((&positions[..5], end), (&[1, 2, 3, 604, 605][..], last), "through node {node}");
        assert_eq!(catch_up(&mut system).await, ((1..=last).collect(), last));
        cluster.world.data.fill("$settings", 1);
        cluster.world.data.fill("s", 1);
        last += 2;
        for (subscription, wanted) in [(&mut plain, vec![last]), (&mut system, vec![last - 1, last])] {
            for position in wanted {
                let item = next(subscription).await;
                assert!(matches!(&item, Item::Event(event) if event.position == position), "{item:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_reports_its_progress_through_many_hidden_events() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("$settings", 5_000);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let request = v1::SubscribeRequest { selector: all(), ..v1::SubscribeRequest::default() };
        let mut subscription = client.subscribe(request).await.unwrap();
        assert!(matches!(next(&mut subscription).await, Item::Confirmed(5_000)));
        let mut marks = Vec::new();
        loop {
            match next(&mut subscription).await {
                Item::Checkpoint(position) => marks.push(position),
                Item::CaughtUp(position) => break assert_eq!(position, 5_000),
                other @ (Item::Event(_) | Item::Confirmed(_) | Item::FellBehind(_)) => panic!("{other:?}"),
            }
        }
        assert!(marks.len() >= 3 && marks.is_sorted(), "through node {node}: {marks:?}");
    }
}
