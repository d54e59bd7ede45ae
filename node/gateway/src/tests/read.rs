use super::harness::Cluster;
use taffrail_client::{
    Client, Error,
    v1::{self, read_request::Start},
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
        let from = v1::ReadRequest { start: Some(Start::FromRevision(690)), limit: 5, ..of_stream("s") };
        assert_eq!(revisions(&client, from).await, [690, 691, 692, 693, 694]);
        let beyond = v1::ReadRequest { start: Some(Start::FromRevision(5000)), ..of_stream("s") };
        assert_eq!(revisions(&client, beyond).await, [0_u64; 0]);
        let after = v1::ReadRequest { start: Some(Start::AfterPosition(698)), ..of_all() };
        assert_eq!(revisions(&client, after).await, [698, 699]);
    }
}

#[tokio::test]
async fn a_missing_stream_is_not_found_through_any_node() {
    let cluster = Cluster::start(2, &[1]).await;
    for node in [1, 2] {
        let error = cluster.client(node).await.read(of_stream("none")).await.err().unwrap();
        assert!(matches!(&error, Error::NotFound { reason, .. } if reason == "STREAM_NOT_FOUND"), "{error:?}");
    }
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
        (v1::ReadRequest { start: Some(Start::FromRevision(1)), ..of_all() }, "from_revision"),
        (v1::ReadRequest { start: Some(Start::FromPosition(1)), ..of_stream("s") }, "from_position"),
        (v1::ReadRequest { start: Some(Start::FromRevision(u64::MAX)), ..of_stream("s") }, "from_revision"),
    ];
    for (request, field) in cases {
        let error = client.read(request).await.err().unwrap();
        assert!(matches!(&error, Error::Invalid { field: Some(f), .. } if f == field), "{field}: {error:?}");
    }
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
            let page =
                client.list_streams(v1::ListRequest { prefix: "a-".into(), page_size: 10, page_token }).await.unwrap();
            names.extend(page.streams.into_iter().map(|s| (s.stream, s.events)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, (0..25).map(|n| (format!("a-{n:02}"), 2)).collect::<Vec<_>>());
    }
}
