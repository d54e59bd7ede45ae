use super::{fake::STORE_ID, harness::Cluster};
use taffrail_client::{
    Client, Error, Rejection,
    v1::{self, start::Kind as Start},
};

fn of_stream(stream: &str) -> v1::ReadRequest {
    let selector = v1::Selector { kind: Some(v1::selector::Kind::Stream(stream.into())) };
    v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() }
}

fn of_all() -> v1::ReadRequest {
    let selector = v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) };
    v1::ReadRequest { selector: Some(selector), ..v1::ReadRequest::default() }
}

async fn revisions(client: &Client, request: v1::ReadRequest) -> Vec<u64> {
    client.read(request).await.unwrap().rest().await.unwrap().iter().map(|e| e.revision).collect()
}

#[tokio::test]
async fn reads_go_both_ways_with_limits_over_many_pages() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 700);
    // Node 1 has the replica, node 2 forwards.
    for node in [1, 2] {
        let client = cluster.client(node).await;
        assert_eq!(revisions(&client, of_stream("s")).await, (0..700).collect::<Vec<_>>());
        let backward = v1::ReadRequest { direction: v1::Direction::Backward.into(), ..of_stream("s") };
        assert_eq!(revisions(&client, backward.clone()).await, (0..700).rev().collect::<Vec<_>>());
        assert_eq!(revisions(&client, v1::ReadRequest { limit: 3, ..backward }).await, [699, 698, 697]);
        let from = v1::ReadRequest { start: Some(Start::FromRevision(690).into()), limit: 5, ..of_stream("s") };
        assert_eq!(revisions(&client, from).await, [690, 691, 692, 693, 694]);
        let beyond = v1::ReadRequest { start: Some(Start::FromRevision(5000).into()), ..of_stream("s") };
        assert_eq!(revisions(&client, beyond).await, [0_u64; 0]);
        let after = v1::ReadRequest { start: Some(Start::AfterPosition(698).into()), ..of_all() };
        assert_eq!(revisions(&client, after).await, [698, 699]);
    }
}

#[tokio::test]
async fn a_read_of_an_absent_stream_ends_with_its_state_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    for node in [1, 2] {
        let end = end_of(&cluster.client(node).await, of_stream("none")).await;
        assert_eq!((end.as_of, end.state()), (3, v1::StreamState::Absent));
        assert_eq!((end.first_revision, end.last_revision, end.next), (None, None, Some(0)));
    }
}

/// Reads to the end and returns the message about the end.
async fn end_of(client: &Client, request: v1::ReadRequest) -> v1::ReadEnd {
    let mut events = client.read(request).await.unwrap();
    while events.next().await.unwrap().is_some() {}
    let end = events.end().unwrap().clone();
    assert_eq!((end.store_id, end.lineage), (STORE_ID.to_string(), 0));
    assert!(!end.resume.is_empty());
    v1::ReadEnd { store_id: String::new(), resume: bytes::Bytes::new(), ..end }
}

#[tokio::test]
async fn the_end_of_a_read_says_where_to_go_on() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("other", 5);
    cluster.world.data.fill("s", 700);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let stream = v1::ReadEnd {
            as_of: 705,
            first_revision: Some(0),
            last_revision: Some(699),
            state: v1::StreamState::Live.into(),
            next: Some(700),
            ..v1::ReadEnd::default()
        };
        assert_eq!(end_of(&client, of_stream("s")).await, stream, "through node {node}");
        let limited = v1::ReadRequest { limit: 10, ..of_stream("s") };
        assert_eq!(end_of(&client, limited).await, v1::ReadEnd { next: Some(10), ..stream.clone() });
        let backward = v1::ReadRequest { direction: v1::Direction::Backward.into(), ..of_stream("s") };
        assert_eq!(end_of(&client, backward.clone()).await, v1::ReadEnd { next: None, ..stream.clone() });
        let limited = v1::ReadRequest { limit: 1, ..backward };
        assert_eq!(end_of(&client, limited).await, v1::ReadEnd { next: Some(698), ..stream.clone() });
        let from_end = v1::ReadRequest { start: Some(Start::FromEnd(v1::Unit {}).into()), ..of_stream("s") };
        assert_eq!(end_of(&client, from_end).await, stream);
        let all = v1::ReadEnd { as_of: 705, next: Some(706), ..v1::ReadEnd::default() };
        assert_eq!(end_of(&client, of_all()).await, all);
    }
}

#[tokio::test]
async fn a_read_of_a_busy_store_ends_where_the_store_stood() {
    // More than the window of the stream: the server cannot read all events ahead of the client.
    const STORED: u64 = 100_000;
    let cluster = Cluster::start(1, &[1]).await;
    cluster.world.data.fill("s", STORED);
    let mut events = cluster.client(1).await.read(of_all()).await.unwrap();
    let mut last = 0;
    while let Some(event) = events.next().await.unwrap() {
        last = event.position;
        assert!(last <= STORED, "an event after the start of the read was delivered");
        if last.is_multiple_of(10) {
            cluster.world.data.fill("s", 1);
        }
    }
    let end = events.end().unwrap();
    assert_eq!((last, end.as_of, end.next), (STORED, STORED, Some(STORED + 1)));
}

#[tokio::test]
async fn a_start_of_another_store_is_refused() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    let start = |store_id: String| Some(v1::Start { store_id, ..Start::AfterPosition(1).into() });
    let other = uuid::Uuid::from_u128(8).to_string();
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let read = |start| client.read(v1::ReadRequest { start, ..of_all() });
        let subscribe = |start| {
            let request =
                v1::SubscribeRequest { selector: of_all().selector, start, ..v1::SubscribeRequest::default() };
            client.subscribe(request)
        };
        assert!(read(start(STORE_ID.to_string().to_uppercase())).await.is_ok());
        assert!(subscribe(start(STORE_ID.to_string())).await.is_ok());
        for error in [read(start(other.clone())).await.err(), subscribe(start(other.clone())).await.err()] {
            let Some(Error::Rejected(Rejection::Other { reason, details, .. })) = error else { panic!("{error:?}") };
            assert_eq!((reason.as_str(), &details["store_id"]), ("STORE_CHANGED", &STORE_ID.to_string()));
        }
        for error in [read(start("orders".into())).await.err(), subscribe(start("orders".into())).await.err()] {
            assert!(
                matches!(&error, Some(Error::Invalid { field: Some(f), .. }) if f == "start.store_id"),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_store_created_again_under_the_same_name_ends_a_read() {
    let mut cluster = Cluster::start(3, &[1, 2]).await;
    // More than the windows of both connections: the relay cannot have received all events.
    cluster.world.data.fill("s", 100_000);
    let mut events = cluster.client(3).await.read(of_stream("s")).await.unwrap();
    events.next().await.unwrap().unwrap();
    *cluster.nodes[2].store_id.lock().unwrap() = taffrail_core::ids::StoreId::new(uuid::Uuid::from_u128(8));
    cluster.kill(1);
    cluster.nodes[2].disconnect(1);
    let error = loop {
        match events.next().await {
            Ok(event) => assert!(event.is_some(), "the read went on in another store"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, Error::Rejected(Rejection::Other { reason, .. }) if reason == "STORE_CHANGED"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_relayed_read_goes_on_with_another_replica_without_gap_or_duplicate() {
    let mut cluster = Cluster::start(3, &[1, 2]).await;
    cluster.world.data.fill("s", 30_000);
    let mut events = cluster.client(3).await.read(of_stream("s")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 1_000 {
        seen.push(events.next().await.unwrap().unwrap().revision);
    }
    cluster.kill(1);
    cluster.nodes[2].disconnect(1);
    while let Some(event) = events.next().await.unwrap() {
        seen.push(event.revision);
    }
    assert_eq!(seen, (0..30_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_read_whose_replica_is_taken_away_goes_on_elsewhere() {
    let cluster = Cluster::start(2, &[1, 2]).await;
    cluster.world.data.fill("s", 30_000);
    let mut events = cluster.client(2).await.read(of_stream("s")).await.unwrap();
    let mut seen = vec![events.next().await.unwrap().unwrap().revision];
    cluster.nodes[1].lose_replica();
    while let Some(event) = events.next().await.unwrap() {
        seen.push(event.revision);
    }
    assert_eq!(seen, (0..30_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn selectors_and_starts_are_checked() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    let cases = [
        (v1::ReadRequest::default(), "selector"),
        (v1::ReadRequest { start: Some(Start::FromRevision(1).into()), ..of_all() }, "start.from_revision"),
        (v1::ReadRequest { start: Some(Start::FromPosition(1).into()), ..of_stream("s") }, "start.from_position"),
        (
            v1::ReadRequest { start: Some(Start::FromRevision(u64::MAX).into()), ..of_stream("s") },
            "start.from_revision",
        ),
    ];
    for (request, field) in cases {
        let error = client.read(request).await.err().unwrap();
        assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == field), "{field}: {error:?}");
    }
}

/// A client with the default receive limit of gRPC libraries reads every page under the default limits.
#[test]
fn the_largest_page_fits_into_the_default_limit_of_grpc_libraries() {
    use crate::{cursor::PAGE, encode};
    use prost::Message;
    use taffrail_core::{event, ids, limits, names};
    const RECEIVE_LIMIT: usize = 4 << 20;
    let text = |bytes: usize| "x".repeat(bytes);
    let largest = |data: usize| event::RecordedEvent {
        stream: names::StreamName::new(&text(512)).unwrap(),
        revision: ids::Revision::MAX,
        position: ids::Position::MAX,
        recorded_at_us: u64::MAX / 2,
        event: event::NewEvent {
            id: ids::EventId::new(uuid::Uuid::from_u128(u128::MAX)),
            event_type: names::EventType::new(&text(255)).unwrap(),
            content_type: text(limits::SHORT_TEXT_BYTES_MAX),
            data: vec![0; data].into(),
            metadata: bytes::Bytes::new(),
            tags: vec![text(limits::SHORT_TEXT_BYTES_MAX); limits::TAGS_MAX],
            correlation_id: text(limits::SHORT_TEXT_BYTES_MAX),
            causation_id: text(limits::SHORT_TEXT_BYTES_MAX),
            occurred_at_us: Some(i64::MAX / 2),
        },
    };
    // A page has small events within the bounds, or one event beyond the bound on bytes.
    const { assert!(limits::EVENT_BYTES_DEFAULT <= PAGE.bytes_max) };
    let event = largest(PAGE.bytes_max / PAGE.events_max);
    let events = vec![encode::event(event); PAGE.events_max];
    let page = v1::read_response::Kind::Events(v1::EventPage { events, ..v1::EventPage::default() });
    let bytes = v1::ReadResponse { kind: Some(page) }.encoded_len();
    assert!((1 << 20..RECEIVE_LIMIT).contains(&bytes), "{bytes} bytes");
}

fn list_request(page_token: String) -> v1::ListRequest {
    v1::ListRequest { prefix: "a-".into(), page_size: 10, page_token, ..v1::ListRequest::default() }
}

#[tokio::test]
async fn streams_are_listed_in_pages_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    for n in 0..25 {
        cluster.world.data.fill(&format!("a-{n:02}"), 2);
    }
    cluster.world.data.fill("b", 1);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = client.list_streams(list_request(page_token)).await.unwrap();
            names.extend(page.streams.into_iter().map(|s| (s.stream, s.event_count)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, (0..25).map(|n| (format!("a-{n:02}"), 2)).collect::<Vec<_>>());
    }
}
