//! Appending clients of a run. Each client calls the gateway of some node, repeats an append of unknown outcome under the
//! same event ids through another node, and checks each answer.

use super::{
    gateway_client::{gateway, request},
    ledger::Acknowledged,
    reading,
    simulated::Cluster,
};
use crate::{lock::lock, planted_defect::PlantedDefect, trace};
use std::sync::Arc;
use taffrail_client::{Error, Rejection};
use taffrail_core::ids::{GroupId, NodeId, Position, ReplicaId};
use taffrail_proto::v1::{AppendRequest, AppendResponse, ExpectedRevision, NewEvent, Unit, expected_revision::Kind};
use tokio::sync::watch;

/// Largest payload: the largest event without room for the other fields.
const DATA_BYTES_MAX: u64 = (1 << 20) - (1 << 10);
/// Attempts of an append; afterwards the outcome stays unknown.
const TRIES_MAX: u32 = 8;

/// Outcome of an attempt of an append.
pub enum Answer {
    /// Stored; the answer of the gateway.
    Stored(AppendResponse),
    /// Refused by the rules of the store.
    Refused(String),
    /// Not proposed: no node has stored the append.
    NotProposed,
    /// Unknown: stored or not.
    Unknown,
    /// The store does not exist, or is being removed.
    Gone(String),
}

/// Sends an append to the gateway of a node and waits for the answer.
pub async fn send(cluster: &Cluster, store: &str, to: NodeId, append: AppendRequest) -> Answer {
    let sent = gateway(cluster, to).append(request(cluster, store, append)).await;
    let error = match sent {
        Ok(response) => {
            let response = response.into_inner();
            check_durable(cluster, store, &response);
            return Answer::Stored(response);
        }
        Err(status) => Error::from_append_status(status),
    };
    match error {
        Error::OutcomeUnknown { .. } => Answer::Unknown,
        Error::Unavailable { reason, .. } => {
            if reason == "STORAGE_LOW" {
                cluster.world.count("appends refused for full disks");
            }
            Answer::NotProposed
        }
        Error::Deadline { .. } => Answer::NotProposed,
        Error::NotFound { message, .. } => Answer::Gone(message),
        Error::Rejected(Rejection::Other { reason, message, .. })
            if matches!(reason.as_str(), "STORE_REMOVING" | "STORE_CLOSED" | "STORE_RETAINED") =>
        {
            Answer::Gone(message)
        }
        Error::Rejected(why) => Answer::Refused(why.to_string()),
        e @ (Error::InvalidEndpoint { .. } | Error::Invalid { .. } | Error::Denied { .. } | Error::Failed(_)) => {
            cluster.world.fail(format!("n{to} fails an append to {store}: {e}"));
            Answer::Unknown
        }
    }
}

/// Checks at an acknowledgement that the entry is durable on a majority of the membership in force.
fn check_durable(cluster: &Cluster, store: &str, answer: &AppendResponse) {
    cluster.note_groups();
    let group = cluster.ledger.with(store, |s| (!s.closing).then_some(s.group)).flatten();
    let Some((group, last)) = group.zip(answer.last_position.and_then(Position::new)) else { return };
    let invariants = lock(&cluster.world.invariants);
    let Some(id) = invariants.entry(group, last) else {
        drop(invariants);
        return cluster.world.fail(format!("{store}: position {last} is acknowledged, but no replica has applied it"));
    };
    let Some((index, voters)) = invariants.last_membership(group) else { return };
    // An entry may be committed by the next membership, which the applied joint membership does not show yet: then only the
    // new voters count.
    let known = effective_index(cluster, group).is_some_and(|effective| effective == index);
    let sets = if known { voters.as_slice() } else { voters.last().map(std::slice::from_ref).unwrap_or_default() };
    let durable = |replica: &&u64| cluster.is_durable(&invariants, ReplicaId::new(**replica), id);
    let short = sets.iter().find(|set| set.iter().filter(durable).count() * 2 <= set.len());
    let missing = short.map(|set| format!("entry {id} of {store} is acknowledged, but no majority of {set:?} has it"));
    drop(invariants);
    if let Some(why) = missing {
        cluster.world.fail(why);
    }
}

/// Index of the membership in use by the leader of a group.
fn effective_index(cluster: &Cluster, group: GroupId) -> Option<u64> {
    let statuses = cluster.hosts.members().filter_map(|m| m.running(group)).map(|r| r.group.status());
    let leader = statuses.filter(|s| s.leads).max_by_key(|s| s.term)?;
    leader.membership.log_id().map(|id| id.index)
}

/// Outcome of an append after all attempts.
enum End {
    Stored(AppendResponse),
    Refused(String),
    Unknown,
    /// No attempt was proposed, and the client does not repeat the append.
    Abandoned,
}

/// Knowledge of a client about the end of the client's own stream: the last revision, or `None` for an empty stream.
#[derive(Clone, Copy)]
enum Tail {
    Known(Option<u64>),
    /// An append of unknown outcome may still be stored.
    Doubtful(Option<u64>),
    Unknown,
}

/// A client of a store, with a stream of its own and a current target host.
pub struct Client {
    cluster: Arc<Cluster>,
    store: String,
    name: u64,
    target: NodeId,
    tail: Tail,
}

fn exactly(tail: Option<u64>) -> ExpectedRevision {
    ExpectedRevision { kind: Some(tail.map_or(Kind::NoStream(Unit {}), Kind::Exact)) }
}

/// Checks that an append with an exact revision is stored right after the revision.
fn follows(store: &str, append: &AppendRequest, answer: &AppendResponse) -> Result<(), String> {
    let first = match append.expected.as_ref().and_then(|e| e.kind.as_ref()) {
        Some(Kind::NoStream(_)) => 0,
        Some(Kind::Exact(revision)) => *revision + 1,
        Some(Kind::Any(_) | Kind::StreamExists(_)) | None => return Ok(()),
    };
    if answer.first_revision == Some(first) {
        return Ok(());
    }
    Err(format!("{store}: an append to {} for revision {first} is stored as {answer:?}", append.stream))
}

/// The expectation fulfilled by any state of a stream.
#[must_use]
pub fn any_revision() -> ExpectedRevision {
    ExpectedRevision { kind: Some(Kind::Any(Unit {})) }
}

/// Up to three events.
fn events(cluster: &Cluster) -> Vec<NewEvent> {
    let world = &cluster.world;
    (0..=world.below(3)).map(|_| event(cluster, "Happened")).collect()
}

/// A random payload: most payloads are small, some are empty, few are large. In a run with large events, some payloads have
/// up to the largest size.
fn payload(cluster: &Cluster) -> Vec<u8> {
    let world = &cluster.world;
    let len = match world.below(100) {
        0..=4 => 0,
        5..=49 => 8,
        50..=61 if cluster.hosts.layout.large_events => {
            world.count("large events");
            world.below(DATA_BYTES_MAX)
        }
        50..=79 => 8,
        80..=97 => world.below(2 << 10),
        _ => world.below(64 << 10),
    };
    let word = world.random().to_be_bytes();
    let len = usize::try_from(len).unwrap_or(0);
    let mut data = word.repeat(len / word.len() + 1);
    data.truncate(len);
    data
}

/// An event with a random payload.
#[must_use]
pub fn event(cluster: &Cluster, kind: &str) -> NewEvent {
    let world = &cluster.world;
    NewEvent {
        id: world.event_id().to_string(),
        r#type: kind.to_owned(),
        content_type: "application/octet-stream".into(),
        data: payload(cluster).into(),
        ..NewEvent::default()
    }
}

impl Client {
    /// Creates a client of a store. The client's own stream is empty.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, store: String, name: u64) -> Self {
        let target = cluster.hosts.layout.any(&cluster.world);
        Self { cluster, store, name, target, tail: Tail::Known(None) }
    }

    /// Appends until `stop`, once the store is declared.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let declared = self.cluster.ledger.wait_for(&self.store);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = declared => {}
        }
        while !*stop.borrow() {
            match self.cluster.world.below(100) {
                0..=39 => self.append_own().await,
                40..=74 => self.append_shared().await,
                _ => self.append_contended().await,
            }
            self.cluster.world.pause(0, 120).await;
        }
    }

    async fn append_shared(&mut self) {
        let stream = format!("shared-{}", self.cluster.world.below(3));
        let append =
            AppendRequest { stream, expected: Some(any_revision()), events: events(&self.cluster), needs: Vec::new() };
        if let End::Refused(why) = self.settle(append).await {
            self.cluster.world.fail(format!("{}: an append with any revision is refused: {why}", self.store));
        }
    }

    async fn append_own(&mut self) {
        let stream = format!("own-{}", self.name);
        let (at, doubtful) = match self.tail {
            Tail::Known(at) => (at, false),
            Tail::Doubtful(at) => (at, true),
            Tail::Unknown => return self.look_up(&stream).await,
        };
        let append =
            AppendRequest { stream, expected: Some(exactly(at)), events: events(&self.cluster), needs: Vec::new() };
        self.tail = match self.settle(append.clone()).await {
            End::Stored(answer) => Tail::Known(answer.last_revision),
            End::Unknown => Tail::Unknown,
            End::Abandoned => self.tail,
            End::Refused(why) => {
                if !doubtful {
                    let (name, store) = (self.name, &self.store);
                    self.cluster.world.fail(format!("{store}: client {name} is refused at the known end: {why}"));
                }
                self.never(&append);
                Tail::Unknown
            }
        };
    }

    /// Appends to the stream that all clients of the store append to with an exact revision.
    async fn append_contended(&mut self) {
        let at = self.cluster.ledger.with(&self.store, |s| s.contended).flatten();
        let (stream, events) = ("contended".to_owned(), events(&self.cluster));
        let append = AppendRequest { stream, expected: Some(exactly(at)), events, needs: Vec::new() };
        let tail = match self.settle(append.clone()).await {
            End::Stored(answer) => answer.last_revision,
            End::Abandoned => None,
            End::Refused(_) => {
                self.cluster.world.count("lost races");
                // The stream only grows, so the expected revision never returns.
                self.never(&append);
                self.contended_tail(&append.stream).await
            }
            End::Unknown => self.contended_tail(&append.stream).await,
        };
        self.cluster.ledger.with(&self.store, |s| s.contended = s.contended.max(tail));
    }

    async fn contended_tail(&self, stream: &str) -> Option<u64> {
        let to = self.cluster.hosts.layout.any(&self.cluster.world);
        reading::tail(&self.cluster, &self.store, to, stream).await.flatten()
    }

    /// Records that the events of an append must never appear.
    fn never(&self, append: &AppendRequest) {
        let ids = append.events.iter().map(|e| e.id.clone());
        self.cluster.ledger.with(&self.store, |s| s.never.extend(ids));
    }

    /// Reads the end of the client's own stream.
    async fn look_up(&mut self, stream: &str) {
        let to = self.cluster.hosts.layout.any(&self.cluster.world);
        match reading::tail(&self.cluster, &self.store, to, stream).await {
            Some(tail) => self.tail = Tail::Doubtful(tail),
            None => self.cluster.world.pause(10, 100).await,
        }
    }

    /// Repeats an append until the outcome is known or the attempts are used up.
    async fn settle(&mut self, mut append: AppendRequest) -> End {
        let cluster = Arc::clone(&self.cluster);
        let mut proposed = false;
        for n in 0..TRIES_MAX {
            let id = append.events.first().map(|e| e.id.clone()).unwrap_or_default();
            trace!(cluster.world, "{} client {} tries {id} at n{} ({n})", self.store, self.name, self.target);
            match send(&cluster, &self.store, self.target, append.clone()).await {
                Answer::Stored(answer) => {
                    self.acknowledged(&append, answer).await;
                    return End::Stored(answer);
                }
                Answer::Refused(why) => return End::Refused(why),
                Answer::Gone(why) => {
                    cluster.world.fail(format!("{} is gone: {why}", self.store));
                    return End::Unknown;
                }
                Answer::NotProposed => {
                    cluster.world.count("not proposed");
                    if !proposed && cluster.world.chance(200) {
                        cluster.world.count("abandoned appends");
                        self.never(&append);
                        return End::Abandoned;
                    }
                    self.target = cluster.hosts.layout.any(&cluster.world);
                    cluster.world.pause(5, 100).await;
                }
                Answer::Unknown => {
                    cluster.world.count("unknown outcomes");
                    proposed = true;
                    self.target = cluster.hosts.layout.any(&cluster.world);
                    if cluster.world.options.plant == Some(PlantedDefect::FreshIdsOnRetry) {
                        append.events.iter_mut().for_each(|e| e.id = cluster.world.event_id().to_string());
                    }
                }
            }
        }
        End::Unknown
    }

    async fn acknowledged(&mut self, append: &AppendRequest, answer: AppendResponse) {
        trace!(self.cluster.world, "{} client {} stored {} {answer:?}", self.store, self.name, append.stream);
        self.cluster.world.require(follows(&self.store, append, &answer));
        let ids = append.events.iter().map(|e| e.id.clone()).collect();
        let acknowledged = Acknowledged { stream: append.stream.clone(), ids, answer };
        self.cluster.ledger.with(&self.store, |s| s.acknowledge(acknowledged));
        if self.cluster.world.chance(100) {
            self.repeat(append, answer).await;
        }
    }

    /// Repeats a stored append through another node and checks that the answer is the same.
    async fn repeat(&mut self, append: &AppendRequest, first: AppendResponse) {
        let to = self.cluster.hosts.layout.any(&self.cluster.world);
        let why = match send(&self.cluster, &self.store, to, append.clone()).await {
            Answer::Stored(again) if again.deduplicated && again.first_position == first.first_position => return,
            Answer::Stored(again) => format!("{again:?}"),
            Answer::Refused(why) | Answer::Gone(why) => why,
            Answer::NotProposed | Answer::Unknown => return,
        };
        let store = &self.store;
        self.cluster
            .world
            .fail(format!("{store}: a repeated append is answered {why}, the first answer was {first:?}"));
    }
}

/// A client writing to a short-lived store until the store is gone.
pub struct Writer {
    cluster: Arc<Cluster>,
    store: String,
}

impl Writer {
    /// Creates the writer of a declared store.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, store: String) -> Self {
        Self { cluster, store }
    }

    /// Appends until the store is gone.
    pub async fn run(self) {
        let world = &self.cluster.world;
        loop {
            let to = self.cluster.hosts.layout.any(world);
            let events = events(&self.cluster);
            let append =
                AppendRequest { stream: "brief".into(), expected: Some(any_revision()), events, needs: Vec::new() };
            match send(&self.cluster, &self.store, to, append).await {
                Answer::Stored(_) => world.count("appends to short-lived stores"),
                Answer::Refused(why) => world.fail(format!("{}: an append is refused: {why}", self.store)),
                Answer::Gone(_) => return world.count("writers of deleted stores"),
                Answer::NotProposed | Answer::Unknown => {}
            }
            world.pause(0, 50).await;
        }
    }
}
