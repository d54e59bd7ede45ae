//! Simulated clients of a run, with three tasks:
//!
//! - append to a stream per client with exact revisions, and to shared streams with any revision;
//! - follow leader hints, and repeat appends of unknown outcome through another node;
//! - read, and check that all earlier acknowledged events are visible.

use crate::{
    host::{Host, Hosts},
    invariants::Acknowledged,
    lock::lock,
    planted_defect::PlantedDefect,
    trace,
    world::World,
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::{
    append::{Append, Appended, ExpectedRevision, Rejected},
    event::NewEvent,
    ids::{NodeId, Revision},
    names::{EventType, StreamName},
};
use taffrail_store_api::{AppendError, StoreReplica};
use tokio::{sync::watch, time::Instant};

/// Attempts of an append; afterwards the outcome stays unknown.
const TRIES_MAX: u32 = 8;

/// Outcome of an attempt of an append.
pub enum Answer {
    /// Stored; the answer of the node.
    Stored(Appended),
    /// Refused by the rules of the store.
    Refused(Rejected),
    /// Not proposed; the node is a hint for the next attempt.
    NotProposed(Option<NodeId>),
    /// Unknown: stored or not.
    Unknown,
}

/// Sends an append to a node and waits for the answer.
pub async fn send(world: &Arc<World>, hosts: &Arc<Hosts>, to: NodeId, append: Append) -> Answer {
    let deadline = Instant::now() + Hosts::patience(world);
    let silence = async {
        tokio::time::sleep_until(deadline).await;
        Answer::Unknown
    };
    let Some(delay) = world.travel() else { return silence.await };
    tokio::time::sleep(delay).await;
    let Some((scope, hosted)) =
        hosts.get(to).and_then(|h| h.running()).and_then(|r| Some((Arc::clone(&r.scope), r.replica()?)))
    else {
        return Answer::NotProposed(None);
    };
    // The node works on the append no longer than the client waits.
    let served = scope.spawn(async move { hosted.store.append(append, Arc::new(()), deadline).await }).await;
    let answer = match served {
        Err(_) => Answer::Unknown,
        Ok(Ok(appended)) => {
            check_durable(world, hosts, &appended);
            Answer::Stored(appended)
        }
        Ok(Err(AppendError::Rejected(why))) => Answer::Refused(why),
        Ok(Err(AppendError::NotLeader(hint))) => Answer::NotProposed(hint.map(|h| h.node)),
        Ok(Err(
            AppendError::Overloaded
            | AppendError::StorageLow(_)
            | AppendError::DeadlineBeforeProposal
            | AppendError::NotServing(_),
        )) => Answer::NotProposed(None),
        Ok(Err(AppendError::Unknown(_))) => Answer::Unknown,
    };
    match world.travel() {
        None => silence.await,
        Some(delay) => {
            tokio::time::sleep(delay).await;
            answer
        }
    }
}

/// Checks at an acknowledgement that a majority of disks holds the entry.
fn check_durable(world: &World, hosts: &Hosts, appended: &Appended) {
    let invariants = lock(&world.invariants);
    let Some(id) = invariants.entry(crate::world::GROUP, appended.last_position) else { return };
    let held = hosts.majority_has(id, &invariants);
    drop(invariants);
    if !held {
        world.fail(format!("entry {id} is acknowledged, but no majority of disks has it"));
    }
}

/// Outcome of an append after all attempts.
enum End {
    Stored(Appended),
    Refused(Rejected),
    Unknown,
}

/// Knowledge of a client about the end of the client's own stream.
#[derive(Clone, Copy)]
enum Tail {
    Known(Option<Revision>),
    /// An append of unknown outcome may still be stored.
    Doubtful(Option<Revision>),
    Unknown,
}

/// A client with a stream of its own and a current target node.
pub struct Client {
    world: Arc<World>,
    hosts: Arc<Hosts>,
    name: u64,
    target: NodeId,
    tail: Tail,
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a short printable name")
}

impl Client {
    /// Creates a client. The client's own stream is empty.
    #[must_use]
    pub fn new(world: Arc<World>, hosts: Arc<Hosts>, name: u64) -> Self {
        let target = NodeId::new(1 + world.below(crate::world::NODES));
        Self { world, hosts, name, target, tail: Tail::Known(None) }
    }

    fn another_node(&self) -> NodeId {
        NodeId::new(1 + self.world.below(crate::world::NODES))
    }

    /// Appends until `stop`.
    pub async fn run(mut self, stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if self.world.chance(450) {
                self.append_own().await;
            } else {
                self.append_shared().await;
            }
            self.world.pause(0, 60).await;
        }
    }

    fn events(&self) -> Vec<NewEvent> {
        let event = |_| NewEvent {
            id: self.world.event_id(),
            event_type: EventType::new("Happened").expect("a short printable name"),
            content_type: "application/octet-stream".into(),
            data: Bytes::copy_from_slice(&self.world.random().to_be_bytes()),
            metadata: Bytes::new(),
            tags: Vec::new(),
            correlation_id: String::new(),
            causation_id: String::new(),
            occurred_at_us: None,
        };
        (0..1 + self.world.below(3)).map(event).collect()
    }

    async fn append_shared(&mut self) {
        let stream = stream(&format!("shared-{}", self.world.below(3)));
        let append = Append { stream, expected: ExpectedRevision::Any, events: self.events() };
        match self.settle(append.clone()).await {
            End::Stored(_) | End::Unknown => {}
            End::Refused(why) => self.world.fail(format!("an append with any revision is refused: {why}")),
        }
    }

    async fn append_own(&mut self) {
        let stream = stream(&format!("own-{}", self.name));
        let (at, doubtful) = match self.tail {
            Tail::Known(at) => (at, false),
            Tail::Doubtful(at) => (at, true),
            Tail::Unknown => return self.look_up(&stream).await,
        };
        let expected = at.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let append = Append { stream, expected, events: self.events() };
        self.tail = match self.settle(append.clone()).await {
            End::Stored(appended) => Tail::Known(Some(appended.last_revision)),
            End::Unknown => Tail::Unknown,
            End::Refused(why) => {
                if !doubtful {
                    self.world.fail(format!(
                        "an append of client {} at the known end of the client's stream is refused: {why}",
                        self.name
                    ));
                }
                lock(&self.world.invariants).refused.extend(append.events.iter().map(|e| e.id));
                Tail::Unknown
            }
        };
    }

    /// Reads the end of the client's own stream.
    async fn look_up(&mut self, stream: &StreamName) {
        let to = self.another_node();
        let found = read(&self.world, &self.hosts, to, Some(stream.clone())).await;
        if let Some(tail) = found {
            self.tail = Tail::Doubtful(tail);
        } else {
            self.world.pause(10, 100).await;
        }
    }

    /// Repeats an append until the outcome is known or the attempts are used up.
    async fn settle(&mut self, mut append: Append) -> End {
        for n in 0..TRIES_MAX {
            trace!(self.world, "client {} tries {} at n{} ({n})", self.name, append.events[0].id, self.target);
            match send(&self.world, &self.hosts, self.target, append.clone()).await {
                Answer::Stored(appended) => {
                    self.acknowledged(&append, appended).await;
                    return End::Stored(appended);
                }
                Answer::Refused(why) => return End::Refused(why),
                Answer::NotProposed(hint) => {
                    self.target = hint.unwrap_or_else(|| self.another_node());
                    self.world.pause(5, 100).await;
                }
                Answer::Unknown => {
                    self.world.count("unknown outcomes");
                    self.target = self.another_node();
                    if self.world.options.plant == Some(PlantedDefect::FreshIdsOnRetry) {
                        append.events.iter_mut().for_each(|e| e.id = self.world.event_id());
                    }
                }
            }
        }
        End::Unknown
    }

    async fn acknowledged(&mut self, append: &Append, answer: Appended) {
        trace!(self.world, "client {} stored {} {answer:?}", self.name, append.stream);
        let ids = append.events.iter().map(|e| e.id).collect();
        lock(&self.world.invariants).acknowledge(Acknowledged { stream: append.stream.clone(), ids, answer });
        if self.world.chance(100) {
            self.repeat(append, answer).await;
        }
    }

    /// Repeats the append through another node and checks that the answer is the same.
    async fn repeat(&mut self, append: &Append, first: Appended) {
        let to = self.another_node();
        let why = match send(&self.world, &self.hosts, to, append.clone()).await {
            Answer::Stored(again) if again.repeated && again.first_position == first.first_position => return,
            Answer::Stored(again) => format!("{again:?}"),
            Answer::Refused(why) => why.to_string(),
            Answer::NotProposed(_) | Answer::Unknown => return,
        };
        self.world.fail(format!("a repeated append is answered {why}, the first answer was {first:?}"));
    }
}

/// Reads the end of a stream, or of the store only, linearizably. `None` when no replica could answer. Every event
/// acknowledged before the read must be visible.
pub async fn read(
    world: &Arc<World>,
    hosts: &Arc<Hosts>,
    at: NodeId,
    stream: Option<StreamName>,
) -> Option<Option<Revision>> {
    let floor = lock(&world.invariants).highest();
    let running = hosts.get(at).map(|h: &Arc<Host>| h.running())??;
    let hosted = running.replica()?;
    let deadline = Instant::now() + Hosts::patience(world);
    let served = running.scope.spawn(async move {
        hosted.store.read_index(deadline).await.ok()?;
        let reader = hosted.store.reader();
        let totals = reader.totals();
        let tail = stream.map_or(Ok(None), |s| reader.stream_tail(&s));
        Some((totals, tail))
    });
    let (totals, tail) = served.await.ok()??;
    match (totals, tail) {
        (Ok(totals), Ok(tail)) => {
            trace!(world, "read n{at} up to {}", totals.last_position);
            world.count("reads");
            if totals.last_position < floor {
                let end = totals.last_position;
                world.fail(format!("n{at} answers a read up to {end}, but {floor} was acknowledged before the read"));
            }
            Some(tail)
        }
        // A replica that installs a snapshot refuses reads; any other error would be damage.
        (Err(e), _) | (_, Err(e)) => {
            if !matches!(e, taffrail_store_api::ReadError::NotServing(_)) {
                world.fail(format!("n{at} cannot read: {e}"));
            }
            None
        }
    }
}

/// Reads from random nodes until `stop`.
pub async fn reader(world: Arc<World>, hosts: Arc<Hosts>, stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let at = NodeId::new(1 + world.below(crate::world::NODES));
        read(&world, &hosts, at, None).await;
        world.pause(20, 200).await;
    }
}
