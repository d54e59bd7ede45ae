//! Following a store: what is stored, then what is being stored. The events come from the applied state of a replica, page
//! by page; at the end of it the subscription waits for the replica to apply more. So there is no moment between catching
//! up and being live at which an event could be missed or doubled. When the replica or the peer that serves it goes away,
//! the cursor goes on with another one.

use super::{
    Origin, Shared,
    call::{Call, peer_lost, replica_lost},
    cursor::{Cursor, Events, PAGE},
    encode, forward,
    status::{Problem, Reason},
};
use std::{convert::Infallible, sync::Arc, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, subscribe_response::Kind, subscriptions_client::SubscriptionsClient},
};
use taffrail_runtime as rt;
use taffrail_store_api::{ReadError, ResolveError, Route, StoreReplica};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

/// Positions without a matching event after which a checkpoint is sent.
const CHECKPOINT_POSITIONS: u64 = 1_000;
/// Pause before another replica is asked; longer while none answers.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSES_MAX: u32 = 10;

type Sender = mpsc::Sender<Result<v1::SubscribeResponse, Status>>;

/// Why one source of events ended.
enum Ended {
    /// The subscriber is gone.
    Client,
    /// The replica or peer is gone: go on elsewhere.
    Source,
    /// The subscription is over.
    Over(Status),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Over(problem.into())
    }
}

/// One subscription, from its first source to its end.
pub struct Subscription {
    shared: Shared,
    call: Call,
    cursor: Cursor,
    tx: Sender,
    confirmed: bool,
    caught_up: bool,
    /// Everything up to this position has been delivered or passed over.
    looked_at: u64,
    /// The last position that the subscriber was told of.
    told: u64,
    /// Sources in a row that brought nothing.
    tries: u32,
}

impl Subscription {
    /// Nothing is fetched before `run`.
    #[must_use]
    pub fn new(shared: Shared, call: Call, cursor: Cursor, tx: Sender) -> Self {
        Self { shared, call, cursor, tx, confirmed: false, caught_up: false, looked_at: 0, told: 0, tries: 0 }
    }

    /// Delivers until the subscriber leaves, its deadline passes, the node stops, or the store is gone.
    pub async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        let tx = self.tx.clone();
        let (deadline, deadline_asked) = (self.call.deadline, self.call.deadline_asked);
        let over: Option<Status> = tokio::select! {
            biased;
            () = stopping.cancelled() => {
                Some(Problem::new(Reason::ShuttingDown, "the node is stopping; resume after the last position").into())
            }
            () = tx.closed() => None,
            () = tokio::time::sleep_until(deadline), if deadline_asked => {
                Some(Problem::new(Reason::Deadline, "the deadline of the subscription passed").into())
            }
            status = self.follow() => status,
        };
        let Some(status) = over else { return };
        if self.looked_at > self.told {
            // A subscriber that is gone by now needs no place to resume from.
            drop(self.send(Kind::Checkpoint(v1::Checkpoint { position: self.looked_at })).await);
        }
        drop(tx.send(Err(status)).await);
    }

    /// Goes from source to source until the subscriber leaves or the subscription is over.
    async fn follow(&mut self) -> Option<Status> {
        loop {
            match self.next_source().await {
                Ended::Client => return None,
                Ended::Over(status) => return Some(status),
                Ended::Source if self.shared.origin == Origin::Peer => {
                    return Some(Problem::new(Reason::NotServing, "the replica here has stopped").into());
                }
                Ended::Source if !self.confirmed && Instant::now() >= self.call.deadline => {
                    let why = "no replica of the store could be followed within the deadline";
                    return Some(Problem::new(Reason::NotServing, why).into());
                }
                Ended::Source => {
                    self.tries += 1;
                    let pause = PAUSE * self.tries.min(PAUSES_MAX);
                    tracing::debug!(tries = self.tries, "the subscription goes on with another source");
                    tokio::time::sleep(pause / 2 + rt::jitter(pause / 2)).await;
                }
            }
        }
    }

    /// Finds a source and delivers from it until it ends.
    async fn next_source(&mut self) -> Ended {
        let store = match self.shared.node.resolve(&self.call.store, self.step()).await {
            Ok(store) => store,
            // A moment without a system quorum ends no subscription.
            Err(ResolveError::Unconfirmed(_) | ResolveError::NotServing(_)) => return Ended::Source,
            Err(e @ (ResolveError::NotFound { .. } | ResolveError::Retained(_) | ResolveError::Removing(_))) => {
                return Problem::from(e).into();
            }
        };
        match self.shared.node.route_read(&store) {
            Route::Local(replica) => match self.serve_here(&replica).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Problem::new(Reason::NotServing, "no replica of the store is here")
                    .with_leader_node(store.leader)
                    .into()
            }
            Route::Remote(nodes) => match self.serve_there(&nodes).await {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
        }
    }

    /// Time for one step. A subscription has no end of its own.
    fn step(&self) -> Instant {
        Instant::now() + self.shared.config.timeout
    }

    async fn serve_here(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<Infallible, Ended> {
        // Watched before the first page is read: what is applied in between wakes the wait at the end of it.
        let mut applied = replica.applied();
        replica.read_index(self.step()).await.map_err(read_ended)?;
        self.settle_here(replica).await?;
        loop {
            let seen = applied.borrow_and_update().position.get();
            let cursor = self.cursor.clone();
            let read = self.shared.readers.run(replica.reader(), move |r| match cursor.page(r, PAGE) {
                Err(ReadError::StreamNotFound(_)) => Ok(Events { events: Vec::new(), more: false }),
                page => page,
            });
            let page = read.await.map_err(read_ended)?;
            if page.more && self.caught_up {
                self.caught_up = false;
                self.send(Kind::FellBehind(v1::FellBehind { position: self.looked_at })).await?;
            }
            self.deliver(page.events.into_iter().map(encode::event).collect()).await?;
            if page.more {
                continue;
            }
            self.looked_at = self.looked_at.max(seen);
            self.mark_end().await?;
            applied.changed().await.map_err(|_| Ended::Source)?;
        }
    }

    /// Fixes an open end to this replica's state and confirms the subscription.
    async fn settle_here(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<(), Ended> {
        let mut cursor = self.cursor.clone();
        let read = self.shared.readers.run(replica.reader(), move |r| {
            // The state is read first: what comes after it is delivered, not skipped.
            let last = r.totals()?.last_position;
            cursor.resolve_open_end(r)?;
            Ok((cursor, last))
        });
        let (cursor, last) = read.await.map_err(read_ended)?;
        self.cursor = cursor;
        self.confirm(last.get(), self.cursor.next()).await
    }

    async fn confirm(&mut self, position: u64, next: Option<u64>) -> Result<(), Ended> {
        if self.confirmed {
            return Ok(());
        }
        self.confirmed = true;
        self.send(Kind::Confirmed(v1::Confirmed { position, next })).await
    }

    /// At the end of what is stored: says so once, and tells the place after a long stretch without events.
    async fn mark_end(&mut self) -> Result<(), Ended> {
        if !self.caught_up {
            self.caught_up = true;
            self.send(Kind::CaughtUp(v1::CaughtUp { position: self.looked_at })).await?;
        }
        if self.looked_at >= self.told + CHECKPOINT_POSITIONS {
            self.told = self.looked_at;
            self.send(Kind::Checkpoint(v1::Checkpoint { position: self.looked_at })).await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, events: Vec<v1::RecordedEvent>) -> Result<(), Ended> {
        let events: Vec<_> = events.into_iter().filter(|e| self.cursor.wants(e)).collect();
        let Some(last) = events.last() else { return Ok(()) };
        let (revision, position) = (last.revision, last.position);
        self.observe_lag(last);
        self.send(Kind::Events(v1::EventPage { events })).await?;
        self.cursor.advance(revision, position);
        self.looked_at = self.looked_at.max(position);
        self.told = self.told.max(position);
        self.tries = 0;
        Ok(())
    }

    fn observe_lag(&self, event: &v1::RecordedEvent) {
        let (true, Some(at)) = (self.caught_up, &event.recorded_at) else { return };
        let at = u64::try_from(at.seconds).unwrap_or(0) * 1_000_000 + u64::try_from(at.nanos).unwrap_or(0) / 1000;
        let lag = Duration::from_micros(rt::now_us().saturating_sub(at));
        self.shared.metrics.subscription_lag_seconds.observe(lag.as_secs_f64());
    }

    async fn serve_there(&mut self, nodes: &[NodeId]) -> Result<Infallible, Ended> {
        let node = nodes.get(self.tries as usize % nodes.len().max(1)).copied();
        let channel = node.and_then(|n| self.shared.node.peer_channel(n)).ok_or(Ended::Source)?;
        let mut client = SubscriptionsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = forward::request(self.cursor.subscribe_request(), &self.call.store, &self.call.request_id, None);
        let mut stream = client.subscribe(request).await.map_err(peer_ended)?.into_inner();
        loop {
            let message = stream.message().await.map_err(peer_ended)?.ok_or(Ended::Source)?;
            self.pass_on(message).await?;
        }
    }

    async fn pass_on(&mut self, message: v1::SubscribeResponse) -> Result<(), Ended> {
        match message.kind {
            Some(Kind::Events(page)) => self.deliver(page.events).await,
            Some(Kind::Confirmed(c)) => {
                // An open end is fixed by the first peer's word; a later peer must go on from there.
                if let Some(next) = c.next {
                    self.cursor.set_open_end(next);
                }
                self.confirm(c.position, c.next).await
            }
            Some(Kind::CaughtUp(c)) => {
                self.looked_at = self.looked_at.max(c.position);
                self.mark_end().await
            }
            Some(Kind::FellBehind(f)) => {
                if !self.caught_up {
                    return Ok(());
                }
                self.caught_up = false;
                self.send(Kind::FellBehind(f)).await
            }
            Some(Kind::Checkpoint(c)) => {
                if c.position <= self.told {
                    return Ok(());
                }
                self.looked_at = self.looked_at.max(c.position);
                self.told = c.position;
                self.send(Kind::Checkpoint(c)).await
            }
            None => Ok(()),
        }
    }

    async fn send(&self, kind: Kind) -> Result<(), Ended> {
        self.tx.send(Ok(v1::SubscribeResponse { kind: Some(kind) })).await.map_err(|_| Ended::Client)
    }
}

fn read_ended(e: ReadError) -> Ended {
    // A leaderless moment is no reason to end a subscription.
    if replica_lost(&e) || matches!(e, ReadError::NoReadIndex(_) | ReadError::Deadline) {
        return Ended::Source;
    }
    Problem::from(e).into()
}

fn peer_ended(status: Status) -> Ended {
    if peer_lost(&status) { Ended::Source } else { Ended::Over(status) }
}
