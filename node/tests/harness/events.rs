//! [`Writer`]: appends to a stream without end; the expected revision is always the last acknowledged revision.

use crate::common::{PATIENCE, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use taffrail_client::{Client, ConnectOptions, Error, EventBuilder, Expected, RetryPolicy};
use tokio::task::JoinHandle;

const STREAM: &str = "chain";
/// Interval between two batches; the events detect loss and need no throughput.
const PACE: Duration = Duration::from_millis(25);
/// Retries at one node, after which the same batch goes to another node.
const TRY: RetryPolicy = RetryPolicy {
    total: Duration::from_secs(3),
    pause_min: Duration::from_millis(20),
    pause_max: Duration::from_millis(200),
};

/// A client of a store through the node at `port`.
pub(crate) fn client(port: u16, store: &str) -> Client {
    let client = Client::connect_lazy(&format!("http://127.0.0.1:{port}"), ConnectOptions::default()).unwrap();
    client.with_store(store).unwrap().with_timeout(Duration::from_secs(5))
}

/// A running writer.
pub(crate) struct Writer {
    store: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    /// Ids in the order of their revisions, from 0.
    task: JoinHandle<Vec<String>>,
}

impl Writer {
    /// Writes through the nodes at `ports` in turn.
    pub(crate) fn start(store: &str, ports: &[u16]) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<Client> = ports.iter().map(|port| client(*port, store)).collect();
        let task = tokio::task::spawn_local(write(clients, Arc::clone(&stop), Arc::clone(&acknowledged)));
        Self { store: store.to_owned(), stop, acknowledged, task }
    }

    /// Waits for the next acknowledgement.
    pub(crate) async fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        until("appends to go on", async || match self.acknowledged.load(Ordering::Relaxed) {
            now if now > before => Ok(()),
            _ if self.task.is_finished() => panic!("the writer of {} has ended", self.store),
            now => Err(format!("{} has {now} events", self.store)),
        })
        .await;
    }

    /// Ends the writer, and checks that each node at `ports` has exactly the acknowledged events, once and in order.
    /// Returns the number of these events.
    pub(crate) async fn finish(self, ports: &[u16]) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let told = self.task.await.unwrap();
        assert!(!told.is_empty(), "{}: nothing was acknowledged", self.store);
        for port in ports {
            let client = client(*port, &self.store);
            let found = until("the events to be read", async || {
                tokio::time::timeout(PATIENCE, client.read_stream(STREAM, 0))
                    .await
                    .expect("a read ends")
                    .map_err(|e| e.to_string())
            })
            .await;
            assert!(found.iter().enumerate().all(|(n, e)| e.revision == n as u64), "{}: a gap", self.store);
            let found: Vec<String> = found.into_iter().map(|e| e.id).collect();
            assert_eq!(found, told, "{}: stored events differ from acknowledged events", self.store);
        }
        told.len()
    }
}

async fn write(clients: Vec<Client>, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicUsize>) -> Vec<String> {
    let mut told = Vec::new();
    let mut expected = Expected::NoStream;
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch: Vec<_> = (0..=told.len() % 3)
            .map(|n| EventBuilder::new("Noted").json(&serde_json::json!({ "n": n })).build())
            .collect();
        let answer = until("an append to be acknowledged", async || {
            turn += 1;
            let client = &clients[turn % clients.len()];
            match client.append_retrying(STREAM, expected, batch.clone(), TRY).await {
                Ok(answer) => Ok(answer),
                Err(error @ Error::Rejected(_)) => panic!("the only writer of the stream was rejected: {error}"),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        assert_eq!(
            answer.first_revision(),
            told.len() as u64,
            "the revision does not follow the last acknowledged revision"
        );
        told.extend(batch.into_iter().map(|event| event.id));
        assert_eq!(answer.last_revision() + 1, told.len() as u64);
        expected = Expected::Exact(answer.last_revision());
        acknowledged.store(told.len(), Ordering::Relaxed);
        tokio::time::sleep(PACE).await;
    }
    told
}
