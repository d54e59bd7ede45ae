//! [`Read`], a read in progress: pages and the end, from the replica of this node or from a peer with a replica. After
//! the loss of a replica, the read continues at the [`Cursor`] with another replica.

use super::{
    Origin, Shared,
    call::{Call, peer_lost, replica_lost, replica_pause, same_store},
    cursor::{AsOf, Cursor, PAGE},
    decode::Selection,
    encode,
    forward::{self, Original},
    outflow::Permit,
    resume::{LINEAGE, TokenOf},
    status::{Problem, Reason},
};
use bytes::Bytes;
use std::sync::Arc;
use taffrail_core::ids::{NodeId, Position, StoreId};
use taffrail_proto::v1::{self, read_response::Kind};
use taffrail_store_api::{Consistency, PageBounds, ReadError, Route, StoreRef, StoreReplica};
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// Path of the call at a peer.
const READ: &str = "/taffrail.v1.Streams/Read";
/// Number of positions without a delivered event before a checkpoint is sent.
const CHECKPOINT_POSITIONS: u64 = 4_096;

/// The source of the next message of a read.
enum Backend {
    /// No replica: not chosen yet, or lost.
    Undecided,
    /// The replica of this node, with the state at the choice.
    Local(Arc<dyn StoreReplica>, AsOf),
    /// The open response of a peer.
    Peer(Box<Streaming<v1::ReadResponse>>),
    /// The end has been returned.
    Ended,
}

/// A page of a replica of this node.
struct LocalPage {
    /// Events to deliver.
    events: Vec<v1::RecordedEvent>,
    /// Revision and position of the last event that was read, delivered or hidden.
    examined: Option<(u64, u64)>,
    /// True if the replica has no further event of the read.
    last: bool,
}

/// A read in progress, resumable on another replica.
pub(crate) struct Read {
    shared: Shared,
    call: Call,
    /// Store of the start, or of the first replica.
    store: Option<StoreId>,
    /// Hash of the selector, for resume tokens.
    selector: u64,
    cursor: Cursor,
    /// Events still to deliver.
    left: u64,
    /// True if the replica of this node has no event after the last page.
    exhausted: bool,
    /// True after a page whose events are all hidden.
    hidden_page: bool,
    /// Position of the last message to the client; of all events, the start before the first message.
    reported: u64,
    /// True if a backward read has delivered the first event.
    delivered_first: bool,
    /// Highest delivered revision of a stream.
    last_revision: Option<u64>,
    consistency: Consistency,
    /// The request of the client, for peers.
    original: Original,
    backend: Backend,
    /// Counts the page that [`next`](Self::next) returned last.
    permit: Option<Permit>,
    /// Failed attempts to find a replica. Each page resets the count if the client set no deadline.
    failed: usize,
}

impl Read {
    /// Creates a read of `limit` events of `selection`. The first call of [`next`](Self::next) chooses a replica.
    #[must_use]
    pub(crate) fn new(
        shared: Shared,
        call: Call,
        selection: Selection,
        limit: u64,
        consistency: Consistency,
        original: Original,
    ) -> Self {
        let (store, selector) = (selection.store, selection.selector);
        let cursor = Cursor::new(selection);
        Self {
            shared,
            call,
            store,
            selector,
            reported: cursor.next().unwrap_or(0),
            cursor,
            left: limit,
            exhausted: false,
            hidden_page: false,
            delivered_first: false,
            last_revision: None,
            consistency,
            original,
            backend: Backend::Undecided,
            permit: None,
            failed: 0,
        }
    }

    /// Returns the permit of the message that [`next`](Self::next) returned; `None` for a message without events.
    pub(crate) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// Returns the next message: pages, never an empty page, then the end, then `None`.
    ///
    /// # Errors
    /// The final status of the read.
    pub(crate) async fn next(&mut self) -> Result<Option<Kind>, Status> {
        loop {
            // A page of which nothing was kept no longer counts.
            self.permit = None;
            if self.call.deadline_asked && Instant::now() >= self.call.deadline {
                return Err(deadline_passed());
            }
            let message = match &mut self.backend {
                Backend::Ended => return Ok(None),
                Backend::Undecided => {
                    self.backend = self.choose_backend().await?;
                    continue;
                }
                Backend::Local(replica, as_of) => {
                    let (replica, as_of) = (Arc::clone(replica), *as_of);
                    self.next_of_replica(&replica, as_of).await?
                }
                Backend::Peer(messages) => {
                    self.call.answers.ready().await;
                    match peer_message(messages, &self.call).await {
                        Ok(Some(message)) => self.next_of_peer(message).await?,
                        // A response without the message about the end is incomplete.
                        Ok(None) => {
                            self.lose_backend().await?;
                            None
                        }
                        Err(status) if peer_lost(&status) => {
                            self.lose_backend().await?;
                            None
                        }
                        Err(status) => return Err(status),
                    }
                }
            };
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Reads the next page of a replica of this node; `None` after an empty page or the loss of the replica.
    async fn next_of_replica(&mut self, replica: &Arc<dyn StoreReplica>, as_of: AsOf) -> Result<Option<Kind>, Status> {
        if self.exhausted || self.delivered_first || self.left == 0 {
            self.backend = Backend::Ended;
            return Ok(Some(Kind::End(self.end(as_of))));
        }
        let (mut wanted, mut bounds) = (None, None);
        loop {
            let mut permit = self.call.answers.permit(wanted).await?;
            let page = match self.local_page(replica, as_of, *bounds.get_or_insert_with(|| permit.page_bytes())).await {
                Ok(page) => page,
                Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                    drop(permit);
                    self.lose_backend().await?;
                    return Ok(None);
                }
                Err(e) => return Err(Problem::from(e).into()),
            };
            let bytes = encode::page_len(&page.events);
            if permit.fit(bytes) {
                self.permit = Some(permit).filter(|_| !page.events.is_empty());
                self.exhausted = page.last;
                let message = self.take(page.events, page.examined);
                return Ok(message.or_else(|| page.examined.and_then(|(_, position)| self.checkpoint(position))));
            }
            wanted = Some(bytes);
        }
    }

    /// Takes over a message of a peer; `None` if nothing is left to deliver.
    async fn next_of_peer(&mut self, message: v1::ReadResponse) -> Result<Option<Kind>, Status> {
        let Some(kind) = message.kind else { return Ok(None) };
        Ok(match kind {
            Kind::Events(page) => {
                self.permit = Some(self.call.answers.permit(Some(encode::page_len(&page.events))).await?);
                self.take(page.events, None)
            }
            Kind::Checkpoint(v1::Checkpoint { position, .. }) => {
                self.cursor.skip_to(position);
                Some(Kind::Checkpoint(v1::Checkpoint { position, resume: self.resume(self.cursor.next(), position) }))
            }
            Kind::End(end) => {
                // At the limit, the peer was asked for an event that is not delivered.
                if self.left > 0 {
                    match end.next {
                        Some(next) => self.cursor.skip_to(next.saturating_sub(1)),
                        None => self.delivered_first = true,
                    }
                }
                self.backend = Backend::Ended;
                Some(Kind::End(self.end(AsOf { position: end.as_of, last_revision: end.last_revision })))
            }
        })
    }

    /// Returns the message about the end of a read that a replica with the state `as_of` served last.
    fn end(&self, as_of: AsOf) -> v1::ReadEnd {
        let last_revision = as_of.last_revision.max(self.last_revision);
        let state = match (self.cursor.of_stream(), last_revision) {
            (false, _) => v1::StreamState::Unspecified,
            (true, Some(_)) => v1::StreamState::Live,
            (true, None) => v1::StreamState::Absent,
        };
        let next = if self.delivered_first { None } else { self.cursor.next_after(as_of.position, last_revision) };
        // A limit ends a read before all events were examined.
        let examined = if self.left == 0 { 0 } else { as_of.position };
        v1::ReadEnd {
            as_of: as_of.position,
            // Nothing removes the first events of a stream.
            first_revision: last_revision.map(|_| 0),
            last_revision,
            state: state.into(),
            next,
            store_id: self.store_id(),
            lineage: LINEAGE,
            resume: self.resume(next, examined),
        }
    }

    fn store_id(&self) -> String {
        self.store.map(|store| store.to_string()).unwrap_or_default()
    }

    /// Returns the token to continue before `next`. The store is known as soon as a replica was chosen.
    fn resume(&self, next: Option<u64>, examined: u64) -> Bytes {
        let of = self.store.map(|store| TokenOf { store, selector: self.selector });
        of.map(|of| self.cursor.resume_token(of, next, examined).encode()).unwrap_or_default()
    }

    /// Gives up a lost replica or peer, and waits before the choice of another.
    async fn lose_backend(&mut self) -> Result<(), Status> {
        self.backend = Backend::Undecided;
        self.pause().await
    }

    /// Chooses the replica of this node if present, else a peer. Returns `Undecided` after a failed attempt.
    async fn choose_backend(&mut self) -> Result<Backend, Status> {
        let store = self.shared.node.resolve(&self.call.store, self.call.deadline).await.map_err(Problem::from)?;
        same_store(*self.store.get_or_insert(store.id), &store)?;
        match self.shared.node.route_read(&store) {
            Route::Local(replica) => match self.open_replica(&replica).await {
                Ok(as_of) => Ok(Backend::Local(replica, as_of)),
                Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                    self.pause().await?;
                    Ok(Backend::Undecided)
                }
                Err(e) => Err(Problem::from(e).into()),
            },
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Err(Problem::new(Reason::NotServing, "this node has no replica of the store").into())
            }
            Route::Remote(nodes) => self.open_peer(&store, &nodes).await,
        }
    }

    /// Waits until a replica of this node is as fresh as required, and reads the state at the start.
    async fn open_replica(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<AsOf, ReadError> {
        match self.consistency {
            Consistency::Linearizable => replica.read_index(self.call.deadline).await?,
            Consistency::AtLeast(position) => reach(&**replica, position, self.call.deadline).await?,
            Consistency::Stale => {}
        }
        let cursor = self.cursor.clone();
        let as_of = self.shared.readers.run(replica.reader(), move |r| cursor.as_of(r)).await?;
        if self.consistency == Consistency::Linearizable {
            self.cursor.check_start(Position::new(as_of.position).unwrap_or_default())?;
        }
        self.cursor.clamp_backward(as_of);
        Ok(as_of)
    }

    /// Requests the rest of the read from the next peer in turn.
    async fn open_peer(&mut self, store: &StoreRef, nodes: &[NodeId]) -> Result<Backend, Status> {
        let node = nodes.get(self.failed % nodes.len().max(1)).copied();
        let channel = node.and_then(|n| self.shared.node.peer_channel(n));
        let Some(channel) = channel else {
            self.pause().await?;
            return Ok(Backend::Undecided);
        };
        // After the last event only the message about the end is missing. A limit of 0 would mean no limit.
        let request = self.original.with(&self.cursor.rest_of_read(self.left.max(1)));
        let request = forward::request(request, &store.name, &self.call.request_id, None);
        match forward::streaming(channel, READ, request).await {
            Ok(pages) => Ok(Backend::Peer(Box::new(pages.into_inner()))),
            Err(status) if peer_lost(&status) => {
                self.pause().await?;
                Ok(Backend::Undecided)
            }
            Err(status) => Err(status),
        }
    }

    /// Reads the next page of a replica of this node, at most `bytes_max` bytes, without hidden events and the events after
    /// the start of the read.
    async fn local_page(
        &self,
        replica: &Arc<dyn StoreReplica>,
        as_of: AsOf,
        bytes_max: usize,
    ) -> Result<LocalPage, ReadError> {
        let cursor = self.cursor.clone();
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        // Many hidden events may follow each other; a small limit does not make the pages small then.
        let events_max = if self.hidden_page { PAGE.events_max } else { PAGE.events_max.min(left) };
        let bounds = PageBounds { events_max, bytes_max: PAGE.bytes_max.min(bytes_max) };
        let page = self.shared.readers.run(replica.reader(), move |r| cursor.page(r, bounds)).await?;
        // Appends may go on for ever: a forward read ends at the position where the store stood at the start.
        let later = page.events.last().is_some_and(|event| event.position.get() > as_of.position);
        let mut known = page.events;
        known.retain(|event| event.position.get() <= as_of.position);
        let examined = known.last().map(|event| (event.revision.get(), event.position.get()));
        known.retain(|event| !self.cursor.hides(event));
        Ok(LocalPage { events: encode::page(known.into_iter()), examined, last: !page.more || later })
    }

    /// Keeps the events that were not delivered yet, up to the limit, and moves the cursor past the kept events, or past
    /// the last examined event of the page if the limit allows. Returns `None` if nothing is kept.
    fn take(&mut self, page: Vec<v1::RecordedEvent>, examined: Option<(u64, u64)>) -> Option<Kind> {
        let mut events = Vec::with_capacity(page.len());
        let mut cut = false;
        for event in page {
            if self.left == 0 {
                cut = true;
                break;
            }
            if self.delivered_first || !self.cursor.wants(&event) {
                continue;
            }
            self.left -= 1;
            self.last_revision = self.last_revision.max(self.cursor.of_stream().then_some(event.revision));
            self.delivered_first = !self.cursor.advance(event.revision, event.position);
            events.push(event);
        }
        if let Some((revision, position)) = examined.filter(|_| !cut && !self.delivered_first) {
            self.delivered_first = !self.cursor.advance(revision, position);
        }
        self.hidden_page = examined.is_some() && events.is_empty();
        if !self.call.deadline_asked {
            // Without a deadline of the client, the timeout bounds each page.
            self.call.deadline = Instant::now() + self.shared.config.timeout;
            self.failed = 0;
        }
        let position = events.last()?.position;
        self.reported = position;
        let next = if self.delivered_first { None } else { self.cursor.next() };
        let resume = self.resume(next, position);
        Some(Kind::Events(v1::EventPage { events, store_id: self.store_id(), lineage: LINEAGE, resume }))
    }

    /// Returns a checkpoint after many hidden events of a forward read, so that the client sees the progress and can
    /// continue after the hidden events.
    fn checkpoint(&mut self, position: u64) -> Option<Kind> {
        let next = self.cursor.next().filter(|next| *next > position)?;
        if self.cursor.of_stream() || position < self.reported + CHECKPOINT_POSITIONS {
            return None;
        }
        self.reported = position;
        Some(Kind::Checkpoint(v1::Checkpoint { position, resume: self.resume(Some(next), position) }))
    }

    /// Counts a failed attempt and waits before the next attempt.
    async fn pause(&mut self) -> Result<(), Status> {
        self.failed += 1;
        Ok(replica_pause(self.call.deadline).await?)
    }
}

/// Waits until a replica has applied a position. The leader is asked only for a position that is not applied yet, because
/// the position may be beyond the end of the store.
async fn reach(replica: &dyn StoreReplica, position: Position, deadline: Instant) -> Result<(), ReadError> {
    let mut applied = replica.applied();
    let reached = async { applied.wait_for(|now| now.position >= position).await.is_ok() };
    tokio::select! {
        biased;
        reached = reached => {
            if reached { Ok(()) } else { Err(ReadError::NotServing("the replica has stopped".into())) }
        }
        index = replica.read_index(deadline) => {
            index?;
            let last = replica.applied().borrow().position;
            if last >= position { Ok(()) } else { Err(ReadError::PositionAhead { position, last }) }
        }
    }
}

/// Receives the next message of a peer, within the deadline of the client if set.
async fn peer_message(
    messages: &mut Streaming<v1::ReadResponse>,
    call: &Call,
) -> Result<Option<v1::ReadResponse>, Status> {
    if !call.deadline_asked {
        return messages.message().await;
    }
    tokio::time::timeout_at(call.deadline, messages.message()).await.unwrap_or_else(|_| Err(deadline_passed()))
}

fn deadline_passed() -> Status {
    Problem::new(Reason::Deadline, "the deadline passed before the end of the read").into()
}
