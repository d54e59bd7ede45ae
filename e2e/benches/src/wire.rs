//! Benchmarks of a real node over gRPC: appends until the acknowledgement, events until the delivery, and stored events
//! by read and by subscription.

use super::{
    corpus,
    harness::{Case, Side, Turn, histogram, micros, passes},
    node::Node,
    state::Filled,
};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use std::{
    fs::File,
    future::Future,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};
use taffrail_client::{
    Client, EventBuilder, Expected, Item, Subscription,
    v1::{self, selector, start},
};
use tokio::{runtime::Runtime, task::JoinSet, time::Instant};

/// Writers sharing a connection.
const WRITERS_A_CONNECTION: usize = 16;
/// Total number of connections.
const CONNECTIONS: usize = 4;
/// Bytes of a write to the bare disk: the size of an append in the log, rounded up to a page.
const SYNC_BYTES: usize = 4096;
/// Number of pages in the file of the bare disk, written in turn.
const SYNC_PAGES: u64 = 4096;
/// Number of events to read and to catch up with.
const HISTORY: u64 = 20_000;

/// The clients of the node, and the directory for baselines.
pub struct Wire<'a> {
    runtime: &'a Runtime,
    clients: Vec<Client>,
    scratch: PathBuf,
}

fn event(n: u64) -> v1::NewEvent {
    EventBuilder::new("OrderPlaced").bytes("", corpus::payload(n)).build()
}

fn select(kind: selector::Kind) -> Option<v1::Selector> {
    Some(v1::Selector { kind: Some(kind) })
}

/// Appends sequentially to a stream, `count` times or until `end`.
async fn append(client: Client, stream: String, end: Instant, count: u64) -> Result<Histogram<u64>> {
    let mut calls = histogram()?;
    for n in 0..count {
        let start = Instant::now();
        if start >= end {
            break;
        }
        client.append(&stream, Expected::Any, vec![event(n)]).await?;
        calls.saturating_record(micros(start));
    }
    Ok(calls)
}

/// Returns the next event of a subscription.
async fn delivered(subscription: &mut Subscription) -> Result<Box<v1::RecordedEvent>> {
    loop {
        if let Item::Event(event) = subscription.next().await?.context("the subscription has ended")? {
            return Ok(event);
        }
    }
}

/// Repeats a call until `time` has passed.
async fn repeat<F: Future<Output = Result<()>>>(time: Duration, mut call: impl FnMut(u64) -> F) -> Result<Turn> {
    let (start, mut calls) = (Instant::now(), histogram()?);
    while start.elapsed() < time {
        let called = Instant::now();
        call(calls.len()).await?;
        calls.saturating_record(micros(called));
    }
    Ok(Turn { units: calls.len(), took: start.elapsed(), calls: Some(calls) })
}

impl<'a> Wire<'a> {
    /// Creates the connections to the node.
    pub fn new(runtime: &'a Runtime, node: &Node, scratch: &Path) -> Result<Self> {
        let entered = runtime.enter();
        let clients = (0..CONNECTIONS).map(|_| node.client()).collect::<Result<_>>()?;
        drop(entered);
        Ok(Self { runtime, clients, scratch: scratch.to_path_buf() })
    }

    /// Runs `writers` concurrent writers, each with a stream of its own.
    #[expect(clippy::disallowed_methods, reason = "no part of a simulation; the set owns these tasks")]
    fn append_side(&self, writers: usize, time: Duration, count: u64) -> Result<Turn> {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for writer in 0..writers {
                let client = self.clients[writer / WRITERS_A_CONNECTION % CONNECTIONS].clone();
                tasks.spawn(append(client, format!("order-{writer}"), start + time, count));
            }
            let mut calls = histogram()?;
            while let Some(ended) = tasks.join_next().await {
                calls.add(ended??)?;
            }
            Ok(Turn { units: calls.len(), took: start.elapsed(), calls: Some(calls) })
        })
    }

    /// Stores the events for reads and catch-up, one event to an append.
    pub fn fill(&self) -> Result<()> {
        let writers = CONNECTIONS * WRITERS_A_CONNECTION;
        let each = HISTORY.div_ceil(writers as u64);
        let stored = self.append_side(writers, Duration::from_secs(600), each)?.units;
        ensure!(stored >= HISTORY, "only {stored} events were stored");
        Ok(())
    }

    /// Returns the benchmark of acknowledged appends, with bare syncs of the disk as baseline.
    pub fn append_case(&self, writers: usize) -> Result<Case<'_>> {
        // Written in advance, so a later sync does not include work for the journal of the file system.
        let file = File::create(self.scratch.join("syncs"))?;
        let page = [b'x'; SYNC_BYTES];
        for at in 0..SYNC_PAGES {
            file.write_all_at(&page, at * SYNC_BYTES as u64)?;
        }
        file.sync_all()?;
        let syncs: Side<'_> = Box::new(move |time| {
            let (start, mut units) = (Instant::now(), 0);
            while start.elapsed() < time {
                file.write_all_at(&page, units % SYNC_PAGES * SYNC_BYTES as u64)?;
                file.sync_data()?;
                units += 1;
            }
            Ok(Turn { units, took: start.elapsed(), calls: None })
        });
        Ok(Case {
            path: format!("append over gRPC, {writers} {}", if writers == 1 { "writer" } else { "writers" }),
            unit: "appends",
            ours: Box::new(move |time| self.append_side(writers, time, u64::MAX)),
            references: vec![("fdatasync of 4 KiB, one after the other", syncs)],
        })
    }

    /// Returns the benchmark from the call of an append to its event at a subscriber, with the acknowledgement
    /// alone as baseline.
    pub fn delivery_case(&self) -> Result<Case<'_>> {
        let client = &self.clients[0];
        let mut subscription = self.runtime.block_on(async {
            let request = v1::SubscribeRequest {
                selector: select(selector::Kind::Stream("delivered".to_owned())),
                start: Some(start::Kind::FromEnd(v1::Unit {}).into()),
                ..v1::SubscribeRequest::default()
            };
            // Uses a separate connection, because a real subscriber is another process.
            let mut subscription = self.clients[1].subscribe(request).await?;
            while !matches!(subscription.next().await?, Some(Item::Confirmed(_))) {}
            anyhow::Ok(subscription)
        })?;
        let ours: Side<'_> = Box::new(move |time| {
            self.runtime.block_on(async {
                let (start, mut calls) = (Instant::now(), histogram()?);
                while start.elapsed() < time {
                    let called = Instant::now();
                    let sent = event(calls.len());
                    let id = sent.id.clone();
                    let append = client.append("delivered", Expected::Any, vec![sent]);
                    let (_, got) =
                        tokio::try_join!(async { Ok(append.await?) }, async { delivered(&mut subscription).await })?;
                    ensure!(got.id == id, "event {} was delivered, {id} was appended", got.id);
                    calls.saturating_record(micros(called));
                }
                Ok(Turn { units: calls.len(), took: start.elapsed(), calls: Some(calls) })
            })
        });
        let acknowledged: Side<'_> = Box::new(move |time| {
            self.runtime.block_on(repeat(time, async |n| {
                client.append("acknowledged", Expected::Any, vec![event(n)]).await?;
                Ok(())
            }))
        });
        Ok(Case {
            path: "append to delivery over gRPC, 1 writer".to_owned(),
            unit: "events",
            ours,
            references: vec![("append to acknowledgement", acknowledged)],
        })
    }

    /// Returns the benchmarks of delivering stored events: by a read and by a new subscription.
    pub fn history_cases<'c>(&'c self, filled: &'c Filled) -> [Case<'c>; 2] {
        let read = async || {
            let start = Instant::now();
            let request = v1::ReadRequest {
                selector: select(selector::Kind::All(v1::Unit {})),
                start: Some(start::Kind::FromStart(v1::Unit {}).into()),
                limit: HISTORY,
                ..v1::ReadRequest::default()
            };
            let (mut events, mut count) = (self.clients[0].read(request).await?, 0);
            while events.next().await?.is_some() {
                count += 1;
            }
            ensure!(count == HISTORY, "{count} events were read");
            Ok((count, start.elapsed()))
        };
        let follow = async || {
            let start = Instant::now();
            let request = v1::SubscribeRequest {
                selector: select(selector::Kind::All(v1::Unit {})),
                start: Some(start::Kind::FromStart(v1::Unit {}).into()),
                ..v1::SubscribeRequest::default()
            };
            let mut subscription = self.clients[0].subscribe(request).await?;
            for _ in 0..HISTORY {
                delivered(&mut subscription).await?;
            }
            Ok((HISTORY, start.elapsed()))
        };
        let case = |path: &str, ours| Case {
            path: path.to_owned(),
            unit: "events",
            ours,
            references: vec![filled.walk_side(HISTORY)],
        };
        [
            case(
                "read of $all over gRPC",
                Box::new(move |time| passes(time, || self.runtime.block_on(read()))) as Side<'_>,
            ),
            case(
                "subscription catching up over gRPC",
                Box::new(move |time| passes(time, || self.runtime.block_on(follow()))),
            ),
        ]
    }
}
