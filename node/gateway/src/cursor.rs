//! Reads that go on. A `Cursor` says where a read or subscription stands; pages come from the replica here or, where there
//! is none, from a peer that has one; when either is lost the cursor goes on with the next, without gap or duplicate.

use super::{
    Origin, Shared,
    call::{Call, peer_lost, replica_lost},
    decode::{Source, Start},
    encode, forward,
    status::{Problem, Reason},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::{
    event::RecordedEvent,
    ids::{NodeId, Position, Revision},
    names::StreamName,
};
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, streams_client::StreamsClient},
};
use taffrail_runtime as rt;
use taffrail_store_api::{Consistency, Direction, PageBounds, ReadError, Route, StoreReader, StoreRef, StoreReplica};
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// Events and bytes of one page.
pub const PAGE: PageBounds = PageBounds { events_max: 256, bytes_max: 1 << 20 };
/// Pause before another replica is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a read stands. `None` as next: at the end (backward: not started; forward: not resolved yet).
#[derive(Clone, Debug)]
pub enum Cursor {
    /// One stream.
    Stream {
        /// Its name.
        name: StreamName,
        /// The next revision to deliver.
        next: Option<Revision>,
        /// Reading direction.
        direction: Direction,
    },
    /// The whole store.
    All {
        /// The next position to deliver.
        next: Option<Position>,
        /// Reading direction.
        direction: Direction,
    },
}

/// Events of a page, and whether more follow now.
pub struct Events {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// More are there already.
    pub more: bool,
}

impl Cursor {
    /// At the start of a source.
    #[must_use]
    pub fn new(source: Source, direction: Direction) -> Self {
        let forward = direction == Direction::Forward;
        match source {
            Source::Stream(name, start) => {
                let next = match start {
                    Start::Beginning if forward => Some(Revision::default()),
                    // backward from the beginning: there is nothing before the first event but itself
                    Start::Beginning => Some(Revision::default()),
                    Start::End => None,
                    Start::At(r) => Some(r),
                };
                Self::Stream { name, next, direction }
            }
            Source::All(start) => {
                let next = match start {
                    Start::Beginning => Some(Position::new(1).unwrap_or_default()),
                    Start::End => None,
                    Start::At(p) => Some(p),
                };
                Self::All { next, direction }
            }
        }
    }

    fn direction(&self) -> Direction {
        match self {
            Self::Stream { direction, .. } | Self::All { direction, .. } => *direction,
        }
    }

    /// True for a forward read that starts after the last event: it has nothing to deliver until more comes.
    fn at_open_end(&self) -> bool {
        let open = matches!(self, Self::Stream { next: None, .. } | Self::All { next: None, .. });
        open && self.direction() == Direction::Forward
    }

    /// Fixes an open end to the state of `reader`: what comes later is delivered.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn settle(&mut self, reader: &dyn StoreReader) -> Result<(), ReadError> {
        if !self.at_open_end() {
            return Ok(());
        }
        match self {
            Self::Stream { name, next, .. } => {
                let tail = reader.stream_tail(name)?;
                *next =
                    Some(tail.map_or_else(Revision::default, |t| Revision::new(t.get() + 1).unwrap_or(Revision::MAX)));
            }
            Self::All { next, .. } => {
                let last = reader.totals()?.last_position;
                *next = Some(Position::new(last.get() + 1).unwrap_or(Position::MAX));
            }
        }
        Ok(())
    }

    /// The next page of `reader`, without moving. A stream without events has an empty page.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn page(&self, reader: &dyn StoreReader, bounds: PageBounds) -> Result<Events, ReadError> {
        if self.at_open_end() {
            return Ok(Events { events: Vec::new(), more: false });
        }
        match self {
            Self::Stream { name, next, direction } => {
                let page = reader.read_stream(name, *next, *direction, bounds)?;
                Ok(Events { more: page.next.is_some(), events: page.events })
            }
            Self::All { next, direction } => {
                let page = reader.read_all(*next, *direction, bounds)?;
                Ok(Events { more: page.next.is_some(), events: page.events })
            }
        }
    }

    /// Moves past an event. `false` when a backward read has delivered the very first one.
    pub fn pass(&mut self, revision: u64, position: u64) -> bool {
        let step = |at: u64, direction: &Direction| match direction {
            Direction::Forward => Some(at + 1),
            Direction::Backward => at.checked_sub(1),
        };
        match self {
            Self::Stream { next, direction, .. } => match step(revision, direction).and_then(Revision::new) {
                Some(r) => *next = Some(r),
                None => return false,
            },
            Self::All { next, direction } => match step(position, direction).and_then(Position::new) {
                Some(p) if p > Position::START => *next = Some(p),
                _ => return false,
            },
        }
        true
    }

    /// True for an event that this cursor has not delivered yet.
    #[must_use]
    pub fn wants(&self, event: &v1::RecordedEvent) -> bool {
        match self {
            Self::Stream { next, direction, .. } => match (next, direction) {
                (None, _) => true,
                (Some(n), Direction::Forward) => event.revision >= n.get(),
                (Some(n), Direction::Backward) => event.revision <= n.get(),
            },
            Self::All { next, direction } => match (next, direction) {
                (None, _) => true,
                (Some(n), Direction::Forward) => event.position >= n.get(),
                (Some(n), Direction::Backward) => event.position <= n.get(),
            },
        }
    }

    /// The next revision or position to deliver; `None` at an open end.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        match self {
            Self::Stream { next, .. } => next.map(Revision::get),
            Self::All { next, .. } => next.map(Position::get),
        }
    }

    /// Fixes an open end to what a peer said comes next.
    pub fn fix_open_end(&mut self, at: u64) {
        if !self.at_open_end() {
            return;
        }
        match self {
            Self::Stream { next, .. } => *next = Revision::new(at),
            Self::All { next, .. } => *next = Position::new(at),
        }
    }

    fn selector(&self) -> v1::Selector {
        let kind = match self {
            Self::Stream { name, .. } => v1::selector::Kind::Stream(name.as_str().to_owned()),
            Self::All { .. } => v1::selector::Kind::All(v1::Unit {}),
        };
        v1::Selector { kind: Some(kind) }
    }

    /// The same read for a peer.
    #[must_use]
    pub fn read_request(&self, limit: u64, consistency: Consistency) -> v1::ReadRequest {
        use v1::read_request::Start as S;
        let start = match self {
            Self::Stream { next: Some(r), .. } => S::FromRevision(r.get()),
            Self::All { next: Some(p), .. } => S::FromPosition(p.get()),
            Self::Stream { next: None, .. } | Self::All { next: None, .. } => S::FromEnd(v1::Unit {}),
        };
        let direction = match self.direction() {
            Direction::Forward => v1::Direction::Forward,
            Direction::Backward => v1::Direction::Backward,
        };
        let consistency = match consistency {
            Consistency::Linearizable => v1::Consistency::Linearizable,
            Consistency::Stale => v1::Consistency::Stale,
        };
        v1::ReadRequest {
            selector: Some(self.selector()),
            direction: direction.into(),
            start: Some(start),
            limit: if limit == u64::MAX { 0 } else { limit },
            consistency: consistency.into(),
        }
    }

    /// The same subscription for a peer.
    #[must_use]
    pub fn subscribe_request(&self) -> v1::SubscribeRequest {
        use v1::subscribe_request::Start as S;
        let start = match self {
            Self::Stream { next: Some(r), .. } => S::FromRevision(r.get()),
            Self::All { next: Some(p), .. } => S::FromPosition(p.get()),
            Self::Stream { next: None, .. } | Self::All { next: None, .. } => S::FromEnd(v1::Unit {}),
        };
        v1::SubscribeRequest { selector: Some(self.selector()), start: Some(start) }
    }
}

enum Place {
    Unknown,
    Here(Arc<dyn StoreReplica>),
    There(Box<Streaming<v1::ReadResponse>>),
    Done,
}

/// A read in progress.
pub struct Read {
    shared: Shared,
    call: Call,
    cursor: Cursor,
    left: u64,
    consistency: Consistency,
    place: Place,
    tries: usize,
}

impl Read {
    /// Nothing is fetched before `next`.
    #[must_use]
    pub fn new(shared: Shared, call: Call, cursor: Cursor, limit: u64, consistency: Consistency) -> Self {
        Self { shared, call, cursor, left: limit, consistency, place: Place::Unknown, tries: 0 }
    }

    /// The next page, not empty; `None` at the end.
    ///
    /// # Errors
    /// The status that ends the read.
    pub async fn next(&mut self) -> Result<Option<Vec<v1::RecordedEvent>>, Status> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if self.call.deadline_asked && Instant::now() >= self.call.deadline {
                return Err(Problem::new(Reason::Deadline, "the deadline passed before the read was done").into());
            }
            let page = match &mut self.place {
                Place::Done => return Ok(None),
                Place::Unknown => {
                    self.place = self.find().await?;
                    continue;
                }
                Place::Here(replica) => {
                    let replica = Arc::clone(replica);
                    match self.page_here(&replica).await {
                        Ok(page) => page,
                        Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                            self.place = Place::Unknown;
                            self.pause().await?;
                            continue;
                        }
                        Err(e) => return Err(Problem::from(e).into()),
                    }
                }
                Place::There(stream) => match next_of(stream, &self.call).await {
                    Ok(Some(page)) => page.events,
                    Ok(None) => {
                        self.place = Place::Done;
                        return Ok(None);
                    }
                    Err(status) if peer_lost(&status) => {
                        self.place = Place::Unknown;
                        self.pause().await?;
                        continue;
                    }
                    Err(status) => return Err(status),
                },
            };
            let page = self.take(page);
            if !self.call.deadline_asked {
                // A read that goes on has its time again for the next step.
                self.call.deadline = Instant::now() + self.shared.config.timeout;
                self.tries = 0;
            }
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }

    /// Keeps what was not delivered yet, within the limit, and moves the cursor past it.
    fn take(&mut self, page: Vec<v1::RecordedEvent>) -> Vec<v1::RecordedEvent> {
        let mut out = Vec::with_capacity(page.len());
        for event in page {
            if self.left == 0 {
                break;
            }
            if !self.cursor.wants(&event) {
                continue;
            }
            self.left -= 1;
            let more = self.cursor.pass(event.revision, event.position);
            out.push(event);
            if !more {
                self.place = Place::Done;
                break;
            }
        }
        out
    }

    async fn page_here(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<Vec<v1::RecordedEvent>, ReadError> {
        let cursor = self.cursor.clone();
        let bounds =
            PageBounds { events_max: PAGE.events_max.min(usize::try_from(self.left).unwrap_or(usize::MAX)), ..PAGE };
        let page = self.shared.readers.run(replica.reader(), move |r| cursor.page(r, bounds)).await?;
        if !page.more {
            self.place = Place::Done;
        }
        Ok(page.events.into_iter().map(encode::event).collect())
    }

    async fn find(&mut self) -> Result<Place, Status> {
        let store = self.shared.node.resolve(&self.call.store, self.call.deadline).await.map_err(Problem::from)?;
        match self.shared.node.route_read(&store) {
            Route::Local(replica) => {
                if self.consistency == Consistency::Linearizable {
                    match replica.read_index(self.call.deadline).await {
                        Ok(()) => {}
                        Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                            self.pause().await?;
                            return Ok(Place::Unknown);
                        }
                        Err(e) => return Err(Problem::from(e).into()),
                    }
                }
                Ok(Place::Here(replica))
            }
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Err(Problem::new(Reason::NotServing, "no replica of the store is here").into())
            }
            Route::Remote(nodes) => self.open_there(&store, &nodes).await,
        }
    }

    async fn open_there(&mut self, store: &StoreRef, nodes: &[NodeId]) -> Result<Place, Status> {
        let node = nodes.get(self.tries % nodes.len().max(1)).copied();
        let channel = node.and_then(|n| self.shared.node.peer_channel(n));
        let Some(channel) = channel else {
            self.pause().await?;
            return Ok(Place::Unknown);
        };
        let mut client = StreamsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = self.cursor.read_request(self.left, self.consistency);
        let request = forward::request(request, &store.name, &self.call.request_id, None);
        match client.read(request).await {
            Ok(stream) => Ok(Place::There(Box::new(stream.into_inner()))),
            Err(status) if peer_lost(&status) => {
                self.pause().await?;
                Ok(Place::Unknown)
            }
            Err(status) => Err(status),
        }
    }

    async fn pause(&mut self) -> Result<(), Status> {
        self.tries += 1;
        if Instant::now() >= self.call.deadline {
            let why = "no replica of the store could be read within the deadline";
            return Err(Problem::new(Reason::NotServing, why).into());
        }
        tokio::time::sleep(PAUSE / 2 + rt::jitter(PAUSE)).await;
        Ok(())
    }
}

/// The next page of a peer, within the client's deadline.
async fn next_of(stream: &mut Streaming<v1::ReadResponse>, call: &Call) -> Result<Option<v1::ReadResponse>, Status> {
    if !call.deadline_asked {
        return stream.message().await;
    }
    let late = || Problem::new(Reason::Deadline, "the deadline passed before the read was done").into();
    tokio::time::timeout_at(call.deadline, stream.message()).await.unwrap_or_else(|_| Err(late()))
}
