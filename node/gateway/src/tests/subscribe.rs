use super::harness::Cluster;
use taffrail_client::{
    Error, Item, Rejection, RetryPolicy, Subscription,
    v1::{self, start::Kind as Start},
};

fn of(kind: v1::selector::Kind, start: Start) -> v1::SubscribeRequest {
    v1::SubscribeRequest {
        selector: Some(v1::Selector { kind: Some(kind) }),
        start: Some(start.into()),
        ..v1::SubscribeRequest::default()
    }
}

fn stream(start: Start) -> v1::SubscribeRequest {
    of(v1::selector::Kind::Stream("s".into()), start)
}

fn all(start: Start) -> v1::SubscribeRequest {
    of(v1::selector::Kind::All(v1::Unit {}), start)
}

/// Time limit for an item, so that a test fails instead of waiting for ever.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
const BEGINNING: Start = Start::FromStart(v1::Unit {});
const END: Start = Start::FromEnd(v1::Unit {});

/// Returns the next item, skipping checkpoints.
async fn next(subscription: &mut Subscription) -> Item {
    loop {
        let item = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("the next item comes in time");
        let item = item.unwrap().unwrap();
        if !matches!(item, Item::Checkpoint(_)) {
            return item;
        }
    }
}

/// Returns the revisions of the next `count` events, skipping all other items.
async fn revisions(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let Item::Event(event) = next(subscription).await {
            seen.push(event.revision);
        }
    }
    seen
}

#[tokio::test]
async fn stored_events_come_first_then_the_mark_then_live_ones() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 600);
    for node in [1, 2] {
        let mut subscription = cluster.client(node).await.subscribe(stream(BEGINNING)).await.unwrap();
        assert!(matches!(next(&mut subscription).await, Item::Confirmed(_)));
        let mut seen = Vec::new();
        loop {
            match next(&mut subscription).await {
                Item::Event(event) => seen.push(event.revision),
                Item::CaughtUp(_) => break,
                other @ (Item::Confirmed(_) | Item::Checkpoint(_) | Item::FellBehind(_)) => panic!("{other:?}"),
            }
        }
        let live = cluster.world.data.append_one("s");
        assert_eq!(seen, (0..live).collect::<Vec<_>>());
        let Item::Event(event) = next(&mut subscription).await else { panic!("a live event") };
        assert_eq!(event.revision, live);
    }
}

#[tokio::test]
async fn an_open_end_is_fixed_when_the_subscription_is_confirmed() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 10);
    for node in [1, 2] {
        for request in [stream(END), all(END)] {
            let mut subscription = cluster.client(node).await.subscribe(request).await.unwrap();
            assert!(matches!(next(&mut subscription).await, Item::Confirmed(_)));
            let first = cluster.world.data.append_one("s");
            assert_eq!(revisions(&mut subscription, 1).await, [first]);
        }
    }
}

#[tokio::test]
async fn a_subscription_to_a_stream_that_does_not_exist_yet_waits_for_it() {
    let cluster = Cluster::start(2, &[1]).await;
    let mut subscription = cluster.client(2).await.subscribe(stream(BEGINNING)).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Item::Confirmed(0)));
    assert!(matches!(next(&mut subscription).await, Item::CaughtUp(_)));
    cluster.world.data.fill("other", 3);
    cluster.world.data.fill("s", 2);
    assert_eq!(revisions(&mut subscription, 2).await, [0, 1]);
}

#[tokio::test]
async fn a_relayed_subscription_goes_on_with_another_replica_without_gap_or_duplicate() {
    let mut cluster = Cluster::start(3, &[1, 2]).await;
    cluster.world.data.fill("s", 5_000);
    let mut subscription = cluster.client(3).await.subscribe(all(BEGINNING)).await.unwrap();
    let mut seen = revisions(&mut subscription, 1_000).await;
    cluster.kill(1);
    cluster.nodes[2].disconnect(1);
    cluster.world.data.fill("s", 100);
    seen.extend(revisions(&mut subscription, 4_100).await);
    assert_eq!(seen, (0..5_100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_open_end_survives_the_loss_of_the_peer_that_fixed_it() {
    let mut cluster = Cluster::start(3, &[1, 2]).await;
    cluster.world.data.fill("s", 10);
    let mut of_stream = cluster.client(3).await.subscribe(stream(END)).await.unwrap();
    let mut of_all = cluster.client(3).await.subscribe(all(END)).await.unwrap();
    for subscription in [&mut of_stream, &mut of_all] {
        assert!(matches!(next(subscription).await, Item::Confirmed(10)));
        assert!(matches!(next(subscription).await, Item::CaughtUp(_)));
    }
    cluster.kill(1);
    cluster.nodes[2].disconnect(1);
    // Appended after the loss of the serving peer.
    cluster.world.data.fill("s", 3);
    for subscription in [&mut of_stream, &mut of_all] {
        assert_eq!(revisions(subscription, 3).await, [10, 11, 12]);
    }
}

#[tokio::test]
async fn a_subscription_whose_replica_is_taken_away_goes_on_elsewhere() {
    let cluster = Cluster::start(2, &[1, 2]).await;
    cluster.world.data.fill("s", 10);
    let mut subscription = cluster.client(2).await.subscribe(stream(BEGINNING)).await.unwrap();
    let mut seen = revisions(&mut subscription, 10).await;
    assert!(matches!(next(&mut subscription).await, Item::CaughtUp(10)));
    cluster.nodes[1].lose_replica();
    cluster.world.data.fill("s", 10);
    seen.extend(revisions(&mut subscription, 10).await);
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_store_ends_its_subscriptions_after_the_last_event() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 10);
    for node in [1, 2] {
        let mut open = cluster.client(node).await.subscribe(stream(BEGINNING)).await.unwrap();
        assert_eq!(revisions(&mut open, 10).await.len(), 10);
        assert!(matches!(next(&mut open).await, Item::CaughtUp(10)));
        cluster.nodes[0].replica().close();
        let ended = tokio::time::timeout(PATIENCE, open.next()).await.expect("the end comes in time").unwrap_err();
        let closed = |r: &Rejection| matches!(r, Rejection::Other { reason, .. } if reason == "STORE_CLOSED");
        assert!(matches!(&ended, Error::Rejected(r) if closed(r)), "{ended:?}");
        // A subscription that begins now still gets every stored event first.
        let mut late = cluster.client(node).await.subscribe(stream(BEGINNING)).await.unwrap();
        assert_eq!(revisions(&mut late, 10).await.len(), 10);
    }
}

#[tokio::test]
async fn a_stopping_node_ends_subscriptions_with_a_place_to_resume_from() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("other", 20);
    let mut subscription = cluster.client(1).await.subscribe(stream(BEGINNING)).await.unwrap();
    while !matches!(subscription.next().await.unwrap().unwrap(), Item::CaughtUp(_)) {}
    cluster.clients[0].stopping.cancel();
    assert_eq!(subscription.next().await.unwrap(), Some(Item::Checkpoint(20)));
    let error = subscription.next().await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { reason, .. } if reason == "SHUTTING_DOWN"), "{error:?}");
}

#[tokio::test]
async fn a_resuming_subscription_survives_its_node() {
    let cluster = Cluster::start(2, &[1, 2]).await;
    cluster.world.data.fill("s", 5);
    // A single channel to two nodes, like the address of a Service.
    let (first, second) = (cluster.clients[0].address.clone(), cluster.clients[1].address.clone());
    let (channel, change) = tonic::transport::Channel::balance_channel(2);
    let endpoint = |address: &str| tonic::transport::Endpoint::from_shared(address.to_owned()).unwrap();
    let inserted = |key, address: &str| tonic::transport::channel::Change::Insert(key, endpoint(address));
    change.send(inserted(1, &first)).await.unwrap();
    let client = taffrail_client::Client::from_channel(channel);
    let mut subscription = client.subscribe_resuming(stream(BEGINNING), RetryPolicy::default()).await.unwrap();
    let mut seen = revisions(&mut subscription, 5).await;
    change.send(inserted(2, &second)).await.unwrap();
    change.send(tonic::transport::channel::Change::Remove(1)).await.unwrap();
    cluster.clients[0].stopping.cancel();
    cluster.world.data.fill("s", 5);
    seen.extend(revisions(&mut subscription, 5).await);
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_subscriber_slows_only_itself() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("s", 20_000);
    let client = cluster.client(1).await;
    let mut slow = client.subscribe(stream(BEGINNING)).await.unwrap();
    assert!(matches!(next(&mut slow).await, Item::Confirmed(_)));
    let mut fast = cluster.client(1).await.subscribe(stream(BEGINNING)).await.unwrap();
    assert_eq!(revisions(&mut fast, 20_000).await, (0..20_000).collect::<Vec<_>>());
    assert_eq!(revisions(&mut slow, 20_000).await, (0..20_000).collect::<Vec<_>>());
}
