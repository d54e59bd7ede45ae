//! After `kill -9` all acknowledged events are stored, and the node keeps its identity.

use super::node::Node;
use crate::common::until;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use taffrail_client::{Client, Error, EventBuilder, Expected, RetryPolicy, v1};
use tokio::task::JoinSet;

const WRITERS: usize = 4;
const ROUNDS: usize = 5;
/// Acknowledged batches in a round before the node is killed.
const BATCHES: usize = 60;

fn event(n: usize) -> v1::NewEvent {
    EventBuilder::new("Noted").json(&serde_json::json!({ "n": n })).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_everything_acknowledged_is_there_and_revisions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Node::start(&data).await;
    let client = node.client();
    let mut ids = Vec::new();
    let mut expected = Expected::NoStream;
    for n in 0..10 {
        let event = event(n);
        ids.push(event.id.clone());
        let answer = client.append("orders-1", expected, vec![event]).await.unwrap();
        assert_eq!(answer.first_revision(), n as u64);
        expected = Expected::Exact(answer.last_revision());
    }
    let before = client.cluster_status().await.unwrap();
    node.kill().await;

    let node = Node::start(&data).await;
    let client = node.client();
    let after = client.cluster_status().await.unwrap();
    assert_eq!(after.cluster_id, before.cluster_id);
    assert_eq!(after.answered_by_node_id, before.answered_by_node_id);
    assert_eq!(after.nodes.len(), 1);
    assert_eq!(after.nodes[0].client_address, format!("127.0.0.1:{}", node.ports.clients));
    assert_eq!(
        (after.nodes[0].node_id, &after.nodes[0].disk_id),
        (before.nodes[0].node_id, &before.nodes[0].disk_id),
        "another node came back"
    );
    let stored = client.read_stream("orders-1", 0).await.unwrap();
    let found: Vec<String> = stored.iter().map(|e| e.id.clone()).collect();
    assert_eq!(found, ids);
    assert!(stored.iter().enumerate().all(|(n, e)| e.revision == n as u64 && e.stream == "orders-1"));
    let next = client.append("orders-1", expected, vec![event(10)]).await.unwrap();
    assert_eq!(next.first_revision(), 10);
    assert!(next.first_position() > stored[9].position, "positions went backwards");
    node.kill().await;
}

/// Answers to one writer, by event id.
#[derive(Default)]
struct Answers {
    stored: BTreeMap<String, u64>,
    /// Sent without an answer: stored once as a whole, or not at all.
    open: Option<Vec<v1::NewEvent>>,
    batches: Vec<Vec<String>>,
}

async fn write(
    client: Client,
    stream: String,
    answers: Arc<Mutex<Answers>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let open = answers.lock().unwrap().open.take();
        let batch = open.unwrap_or_else(|| (0..=n % 3).map(event).collect());
        n += 1;
        match client.append(&stream, Expected::Any, batch.clone()).await {
            Ok(answer) => {
                let mut answers = answers.lock().unwrap();
                let revisions = answer.first_revision()..=answer.last_revision();
                answers.batches.push(batch.iter().map(|e| e.id.clone()).collect());
                answers.stored.extend(batch.into_iter().map(|e| e.id).zip(revisions));
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::OutcomeUnknown { .. } | Error::Unavailable { .. }) => {
                // The next round repeats the batch with the same ids.
                answers.lock().unwrap().open = Some(batch);
                return;
            }
            Err(error) => panic!("{stream}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_again_and_again_nothing_acknowledged_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let answers: Vec<Arc<Mutex<Answers>>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let mut cut = 0;
    for round in 0..ROUNDS {
        let node = Node::start(&data).await;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut writers = JoinSet::new();
        for (n, answers) in answers.iter().enumerate() {
            let stream = format!("load-{n}");
            writers.spawn(write(node.client(), stream, Arc::clone(answers), Arc::clone(&stop), Arc::clone(&done)));
        }
        until("appends to be acknowledged", async || match done.load(Ordering::Relaxed) {
            n if n >= BATCHES => Ok(()),
            n => Err(format!("{n} in round {round}")),
        })
        .await;
        node.kill().await;
        stop.store(true, Ordering::Relaxed);
        writers.join_all().await;
        cut += answers.iter().filter(|answers| answers.lock().unwrap().open.is_some()).count();
    }
    // The fault must have happened: at least one kill must hit a batch in flight.
    assert!(cut > 0, "no kill hit a batch in flight");

    let node = Node::start(&data).await;
    let client = node.client();
    for (n, answers) in answers.iter().enumerate() {
        let stream = format!("load-{n}");
        let mut answers = std::mem::take(&mut *answers.lock().unwrap());
        if let Some(batch) = answers.open.take() {
            // The same ids again: stored exactly once, whatever the first attempt did.
            let policy = RetryPolicy::default();
            let answer = client.append_retrying(&stream, Expected::Any, batch.clone(), policy).await.unwrap();
            answers.batches.push(batch.iter().map(|e| e.id.clone()).collect());
            answers
                .stored
                .extend(batch.into_iter().map(|e| e.id).zip(answer.first_revision()..=answer.last_revision()));
        }
        let events = client.read_stream(&stream, 0).await.unwrap();
        let found: BTreeMap<String, u64> = events.iter().map(|e| (e.id.clone(), e.revision)).collect();
        assert_eq!(found.len(), events.len(), "{stream}: an event is stored twice");
        assert_eq!(found, answers.stored, "{stream}: stored events differ from acknowledged events");
        for batch in &answers.batches {
            let places: Vec<u64> = batch.iter().map(|id| found[id]).collect();
            assert!(
                places.windows(2).all(|two| two[1] == two[0] + 1),
                "{stream}: a batch is not contiguous: {places:?}"
            );
        }
    }
    node.kill().await;
}
