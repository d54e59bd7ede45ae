use super::{
    fake::TERM,
    harness::{Cluster, config},
};
use crate::GatewayConfig;
use std::{sync::atomic::Ordering, time::Duration};
use taffrail_client::{Actual, Error, EventBuilder, Expected, Leader, Proposed, Rejection, RetryPolicy, v1};
use taffrail_store_api::{AppendError, StorageLow};

fn event() -> v1::NewEvent {
    EventBuilder::new("Placed").json(&serde_json::json!({"total": 1})).build()
}

#[tokio::test]
async fn an_append_to_the_leader_is_answered_by_it() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    let answer = client.append("s", Expected::NoStream, vec![event(), event()]).await.unwrap();
    assert_eq!((answer.first_revision(), answer.last_revision(), answer.last_position()), (0, 1, 2));
    let error = client.append("s", Expected::Exact(0), vec![event()]).await.unwrap_err();
    let Error::Rejected(Rejection::WrongRevision { stream, expected, actual }) = error else { panic!("{error:?}") };
    assert_eq!((stream.as_str(), expected.as_str(), actual), ("s", "0", Actual::At(1)));
}

#[tokio::test]
async fn an_append_through_any_node_reaches_the_leader_in_one_hop() {
    let cluster = Cluster::start(3, &[1, 2]).await;
    for (node, revision) in [(2, 0), (3, 1)] {
        let answer = cluster.client(node).await.append("s", Expected::Any, vec![event()]).await.unwrap();
        assert_eq!(answer.first_revision(), revision);
    }
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_a_peer_passed_on_is_never_passed_on_again() {
    let cluster = Cluster::start(2, &[1, 2]).await;
    let error = cluster.peers[1].client().await.append("s", Expected::Any, vec![event()]).await.unwrap_err();
    let Error::Unavailable { reason, proposed, leader, retry_after, .. } = error else { panic!("{error:?}") };
    let hint = Leader { node_id: 1, term: Some(TERM), client_address: Some("node-1:2113".into()) };
    assert_eq!((reason.as_str(), proposed, leader), ("NO_LEADER", Proposed::No, Some(hint)));
    assert!(retry_after.is_some());
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_unknown_outcome_stays_unknown_and_is_not_tried_again() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.nodes[0].replica().next_append(AppendError::Unknown("the leader stepped down"));
    let error = cluster.client(2).await.append("s", Expected::Any, vec![event()]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_provably_not_proposed_is_tried_again() {
    let cluster = Cluster::start(2, &[1]).await;
    for _ in 0..3 {
        cluster.nodes[0].replica().next_append(AppendError::NotLeader(None));
    }
    cluster.nodes[0].replica().next_append(AppendError::NotServing("stopping".into()));
    let answer = cluster.client(2).await.append("s", Expected::NoStream, vec![event()]).await.unwrap();
    assert_eq!(answer.first_revision(), 0);
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn an_append_waits_for_an_election() {
    let cluster = Cluster::start(3, &[1, 2]).await;
    cluster.world.lead(None);
    let client = cluster.client(3).await;
    let append = taffrail_runtime::spawn(async move { client.append("s", Expected::Any, vec![event()]).await });
    // The election ends after a follower has refused the append.
    let asked = || cluster.nodes.iter().take(2).map(|n| n.replica().asked.load(Ordering::SeqCst)).sum::<usize>();
    while asked() == 0 {
        tokio::task::yield_now().await;
    }
    cluster.world.lead(Some(2));
    assert_eq!(append.await.unwrap().unwrap().first_revision(), 0);
}

#[tokio::test]
async fn without_a_leader_the_answer_says_so_within_the_deadline() {
    let cluster = Cluster::with(2, &[1], GatewayConfig { timeout: Duration::from_millis(200), ..config() }).await;
    cluster.world.lead(None);
    let client = cluster.client(2).await.with_timeout(Duration::from_millis(500));
    let error = client.append("s", Expected::Any, vec![event()]).await.unwrap_err();
    let Error::Unavailable { reason, proposed, .. } = error else { panic!("{error:?}") };
    assert_eq!((reason.as_str(), proposed), ("NO_LEADER", Proposed::No));
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_was_never_asked() {
    let mut cluster = Cluster::start(3, &[1, 2]).await;
    cluster.kill(1);
    // The lazy channel connects on first use, and the dead node refuses the connection.
    let channel = tonic::transport::Endpoint::from_shared(cluster.peers[0].address.clone()).unwrap().connect_lazy();
    cluster.nodes[2].connect(1, channel);
    let client = cluster.client(3).await;
    let append = taffrail_runtime::spawn(async move { client.append("s", Expected::Any, vec![event()]).await });
    cluster.world.lead(Some(2));
    assert_eq!(append.await.unwrap().unwrap().first_revision(), 0);
}

#[tokio::test]
async fn a_retrying_append_finds_the_outcome() {
    let cluster = Cluster::start(1, &[1]).await;
    cluster.nodes[0].replica().next_append(AppendError::Unknown("the leader stepped down"));
    cluster.nodes[0].replica().next_append(AppendError::Overloaded);
    let client = cluster.client(1).await;
    let answer = client.append_retrying("s", Expected::NoStream, vec![event()], RetryPolicy::default()).await.unwrap();
    assert_eq!(answer.first_revision(), 0);
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn bad_input_names_field_and_rule_and_proposes_nothing() {
    let cluster = Cluster::start(1, &[1]).await;
    let client = cluster.client(1).await;
    let twin = event();
    let cases: Vec<(&str, Vec<v1::NewEvent>, &str, &str)> = vec![
        ("s", vec![], "events", "INVALID_ARGUMENT"),
        ("", vec![event()], "stream", "INVALID_ARGUMENT"),
        ("s", vec![v1::NewEvent { id: "x".into(), ..event() }], "events.id", "INVALID_ARGUMENT"),
        ("s", vec![twin.clone(), twin], "events.id", "INVALID_ARGUMENT"),
        ("s", vec![v1::NewEvent { r#type: String::new(), ..event() }], "type", "INVALID_ARGUMENT"),
        ("s", vec![v1::NewEvent { data: vec![0; 2000].into(), ..event() }], "events.data", "EVENT_TOO_LARGE"),
        (
            "s",
            (0..5).map(|_| v1::NewEvent { data: vec![0; 1000].into(), ..event() }).collect(),
            "events",
            "BATCH_TOO_LARGE",
        ),
    ];
    for (stream, events, field, reason) in cases {
        let error = client.append(stream, Expected::Any, events).await.unwrap_err();
        let Error::Invalid { field: Some(f), reason: Some(r), message } = error else { panic!("{error:?}") };
        assert_eq!((f.as_str(), r.as_str()), (field, reason), "{message}");
    }
    let error = client.append("s", Expected::Exact(u64::MAX), vec![event()]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field: Some(f), .. } if f == "expected.exact"));
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_an_application_gives_comes_back_in_the_form_of_the_store() {
    let cluster = Cluster::start(2, &[1]).await;
    // Node 1 has the replica, node 2 forwards.
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let id = taffrail_client::new_id();
        let occurred = std::time::UNIX_EPOCH - Duration::from_micros(1);
        let event = EventBuilder::new("T").id(id).tag("b").tag("a").tag("b").occurred_at(occurred).build();
        let event = v1::NewEvent { id: event.id.to_uppercase(), ..event };
        let stream = format!("s-{node}");
        client.append(&stream, Expected::NoStream, vec![event]).await.unwrap();
        let stored = client.read_stream(&stream, 0).await.unwrap().remove(0);
        assert_eq!((stored.id, stored.tags), (id.to_string(), vec!["a".to_owned(), "b".to_owned()]));
        let occurred = stored.occurred_at.unwrap();
        assert_eq!((occurred.seconds, occurred.nanos), (-1, 999_999_000));
    }
}

#[tokio::test]
async fn the_nearly_full_disk_of_the_leader_refuses_appends_before_a_proposal_and_reads_go_on() {
    let cluster = Cluster::start(2, &[1]).await;
    cluster.world.data.fill("s", 3);
    let low = StorageLow::Leader { free_bytes: 5, needed_bytes: 8 };
    // The disk of a node that only forwards does not count.
    *cluster.nodes[1].low.lock().unwrap() = Some(low);
    cluster.client(2).await.append("s", Expected::Any, vec![event()]).await.unwrap();
    *cluster.nodes[0].low.lock().unwrap() = Some(low);
    for node in [1, 2] {
        let client = cluster.client(node).await;
        let error = client.append("s", Expected::Any, vec![event()]).await.unwrap_err();
        let Error::Unavailable { reason, proposed, message, retry_after, .. } = &error else { panic!("{error:?}") };
        assert_eq!((reason.as_str(), *proposed), ("STORAGE_LOW", Proposed::No));
        assert!(message.contains("5 bytes are free, 8 are needed"), "{message}");
        assert!(*retry_after >= Some(Duration::from_secs(1)));
        assert_eq!(client.read_stream("s", 0).await.unwrap().len(), 4);
    }
    assert_eq!(cluster.nodes[0].replica().asked.load(Ordering::SeqCst), 1, "refused before the proposal");
    *cluster.nodes[0].low.lock().unwrap() = None;
    cluster.client(2).await.append("s", Expected::Any, vec![event()]).await.unwrap();
}
