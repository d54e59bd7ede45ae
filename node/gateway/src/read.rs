//! [`Read`], a read in progress: pages from the replica of this node or from a peer with a replica. After the loss of a
//! replica, the read continues at the [`Cursor`] with another replica.

use super::{
    Origin, Shared,
    call::{Call, peer_lost, replica_lost},
    cursor::{Cursor, PAGE},
    encode, forward,
    status::{Problem, Reason},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::ids::NodeId;
use taffrail_proto::{
    MESSAGE_BYTES_MAX,
    v1::{self, streams_client::StreamsClient},
};
use taffrail_runtime as rt;
use taffrail_store_api::{Consistency, PageBounds, ReadError, Route, StoreRef, StoreReplica};
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// Mean pause before the next attempt to find a replica; the real pause is random, at least half of `PAUSE`.
const PAUSE: Duration = Duration::from_millis(50);

/// The source of the next page of a read.
enum Backend {
    /// No replica: not chosen yet, or lost.
    Undecided,
    /// The replica of this node.
    Local(Arc<dyn StoreReplica>),
    /// The open response of a peer.
    Peer(Box<Streaming<v1::ReadResponse>>),
    /// All events have been read.
    Finished,
}

/// A read in progress, resumable on another replica.
pub(crate) struct Read {
    shared: Shared,
    call: Call,
    cursor: Cursor,
    /// Events still to deliver.
    left: u64,
    consistency: Consistency,
    backend: Backend,
    /// Failed attempts to find a replica. Each page resets the count if the client set no deadline.
    failed: usize,
}

impl Read {
    /// Creates a read of `limit` events from `cursor`. The first call of [`next`](Self::next) chooses a replica.
    #[must_use]
    pub(crate) fn new(shared: Shared, call: Call, cursor: Cursor, limit: u64, consistency: Consistency) -> Self {
        Self { shared, call, cursor, left: limit, consistency, backend: Backend::Undecided, failed: 0 }
    }

    /// Returns the next page, never an empty page; `None` at the end.
    ///
    /// # Errors
    /// The final status of the read.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<v1::RecordedEvent>>, Status> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if self.call.deadline_asked && Instant::now() >= self.call.deadline {
                return Err(deadline_passed());
            }
            let page = match &mut self.backend {
                Backend::Finished => return Ok(None),
                Backend::Undecided => {
                    self.backend = self.choose_backend().await?;
                    continue;
                }
                Backend::Local(replica) => {
                    let replica = Arc::clone(replica);
                    match self.local_page(&replica).await {
                        Ok(page) => page,
                        Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                            self.backend = Backend::Undecided;
                            self.pause().await?;
                            continue;
                        }
                        Err(e) => return Err(Problem::from(e).into()),
                    }
                }
                Backend::Peer(pages) => match peer_page(pages, &self.call).await {
                    Ok(Some(page)) => page.events,
                    Ok(None) => {
                        self.backend = Backend::Finished;
                        return Ok(None);
                    }
                    Err(status) if peer_lost(&status) => {
                        self.backend = Backend::Undecided;
                        self.pause().await?;
                        continue;
                    }
                    Err(status) => return Err(status),
                },
            };
            let page = self.take(page);
            if !self.call.deadline_asked {
                // Without a deadline of the client, the timeout bounds each page.
                self.call.deadline = Instant::now() + self.shared.config.timeout;
                self.failed = 0;
            }
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }

    /// Chooses the replica of this node if present, else a peer. Returns `Undecided` after a failed attempt.
    async fn choose_backend(&mut self) -> Result<Backend, Status> {
        let store = self.shared.node.resolve(&self.call.store, self.call.deadline).await.map_err(Problem::from)?;
        match self.shared.node.route_read(&store) {
            Route::Local(replica) => {
                if self.consistency == Consistency::Linearizable {
                    match replica.read_index(self.call.deadline).await {
                        Ok(()) => {}
                        Err(e) if replica_lost(&e) && self.shared.origin == Origin::Client => {
                            self.pause().await?;
                            return Ok(Backend::Undecided);
                        }
                        Err(e) => return Err(Problem::from(e).into()),
                    }
                }
                Ok(Backend::Local(replica))
            }
            Route::Remote(_) if self.shared.origin == Origin::Peer => {
                Err(Problem::new(Reason::NotServing, "this node has no replica of the store").into())
            }
            Route::Remote(nodes) => self.open_peer(&store, &nodes).await,
        }
    }

    /// Requests the rest of the read from the next peer in turn.
    async fn open_peer(&mut self, store: &StoreRef, nodes: &[NodeId]) -> Result<Backend, Status> {
        let node = nodes.get(self.failed % nodes.len().max(1)).copied();
        let channel = node.and_then(|n| self.shared.node.peer_channel(n));
        let Some(channel) = channel else {
            self.pause().await?;
            return Ok(Backend::Undecided);
        };
        let mut client = StreamsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = self.cursor.read_request(self.left, self.consistency);
        let request = forward::request(request, &store.name, &self.call.request_id, None);
        match client.read(request).await {
            Ok(pages) => Ok(Backend::Peer(Box::new(pages.into_inner()))),
            Err(status) if peer_lost(&status) => {
                self.pause().await?;
                Ok(Backend::Undecided)
            }
            Err(status) => Err(status),
        }
    }

    async fn local_page(&mut self, replica: &Arc<dyn StoreReplica>) -> Result<Vec<v1::RecordedEvent>, ReadError> {
        let cursor = self.cursor.clone();
        let bounds =
            PageBounds { events_max: PAGE.events_max.min(usize::try_from(self.left).unwrap_or(usize::MAX)), ..PAGE };
        let page = self.shared.readers.run(replica.reader(), move |r| cursor.page(r, bounds)).await?;
        if !page.more {
            self.backend = Backend::Finished;
        }
        Ok(page.events.into_iter().map(encode::event).collect())
    }

    /// Keeps the events that were not delivered yet, up to the limit, and moves the cursor past the kept events.
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
            let more = self.cursor.advance(event.revision, event.position);
            out.push(event);
            if !more {
                self.backend = Backend::Finished;
                break;
            }
        }
        out
    }

    /// Counts a failed attempt and waits before the next attempt.
    async fn pause(&mut self) -> Result<(), Status> {
        self.failed += 1;
        if Instant::now() >= self.call.deadline {
            let why = "no replica of the store answered the read within the deadline";
            return Err(Problem::new(Reason::NotServing, why).into());
        }
        tokio::time::sleep(PAUSE / 2 + rt::jitter(PAUSE)).await;
        Ok(())
    }
}

/// Receives the next page of a peer, within the deadline of the client if set.
async fn peer_page(pages: &mut Streaming<v1::ReadResponse>, call: &Call) -> Result<Option<v1::ReadResponse>, Status> {
    if !call.deadline_asked {
        return pages.message().await;
    }
    tokio::time::timeout_at(call.deadline, pages.message()).await.unwrap_or_else(|_| Err(deadline_passed()))
}

fn deadline_passed() -> Status {
    Problem::new(Reason::Deadline, "the deadline passed before the end of the read").into()
}
