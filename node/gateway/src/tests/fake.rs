//! Fakes of the port to storage: a store in memory, replicas of the store, and nodes with routes to the replicas.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use taffrail_core::{
    append::{Append, Appended, ExpectedRevision, Rejected, Tail},
    event::RecordedEvent,
    ids::{ClusterId, Digest, GroupId, NodeId, Position, ReplicaId, Revision, StoreId},
    names::{StoreName, StreamName},
};
use taffrail_proto::v1;
use taffrail_store_api::{
    AppendError, Applied, Direction, LeaderHint, Node, Page, PageBounds, PeerChannel, ReadError, RequestMemory,
    ResolveError, Route, StorageLow, StoreChangeError, StoreFilter, StoreReader, StoreRef, StoreReplica, StoreTotals,
    StreamSummary,
};
use tokio::{sync::watch, time::Instant};
use tonic::transport::Channel;

/// Id of the store.
pub(super) const STORE_ID: StoreId = StoreId::new(uuid::Uuid::from_u128(7));
/// Term of every leader.
pub(super) const TERM: u64 = 7;

/// The events of the store, shared by all replicas.
#[derive(Default)]
pub(super) struct Data {
    events: Mutex<Vec<RecordedEvent>>,
    replicas: Mutex<Vec<Arc<FakeReplica>>>,
    /// Bytes of the data of all events in all pages that readers have taken.
    pub(super) bytes_read: AtomicUsize,
}

impl Data {
    fn counted<N>(&self, page: Page<N>) -> Page<N> {
        self.bytes_read.fetch_add(page.events.iter().map(|e| e.event.size()).sum(), Ordering::SeqCst);
        page
    }

    fn tail(events: &[RecordedEvent], stream: &StreamName) -> Tail {
        events.iter().rev().find(|e| &e.stream == stream).map_or(Tail::Empty, |e| Tail::At(e.revision))
    }

    /// Stores a batch by the rules of a store, reduced to the rules for revisions.
    pub(super) fn append(&self, append: Append) -> Result<Appended, Rejected> {
        let mut events = self.events.lock().unwrap();
        let actual = Self::tail(&events, &append.stream);
        let fits = match (append.expected, actual) {
            (ExpectedRevision::Any, _)
            | (ExpectedRevision::NoStream, Tail::Empty)
            | (ExpectedRevision::StreamExists, Tail::At(_)) => true,
            (ExpectedRevision::Exact(wanted), Tail::At(at)) => wanted == at,
            (ExpectedRevision::NoStream | ExpectedRevision::StreamExists | ExpectedRevision::Exact(_), _) => false,
        };
        if !fits {
            return Err(Rejected::WrongRevision { stream: append.stream, expected: append.expected, actual });
        }
        let mut revision = match actual {
            Tail::Empty => 0,
            Tail::At(r) => r.get() + 1,
        };
        let first = (revision, events.len() as u64 + 1);
        for event in append.events {
            let position = Position::new(events.len() as u64 + 1).unwrap();
            events.push(RecordedEvent {
                stream: append.stream.clone(),
                revision: Revision::new(revision).unwrap(),
                position,
                recorded_at_us: 1_700_000_000_000_000 + position.get(),
                event,
            });
            revision += 1;
        }
        let last = events.len() as u64;
        let answer = Appended {
            first_revision: Revision::new(first.0).unwrap(),
            last_revision: Revision::new(revision - 1).unwrap(),
            first_position: Position::new(first.1).unwrap(),
            last_position: Position::new(last).unwrap(),
            recorded_at_us: 1_700_000_000_000_000 + last,
            repeated: false,
        };
        drop(events);
        for replica in self.replicas.lock().unwrap().iter() {
            replica.tell(last);
        }
        Ok(answer)
    }

    /// Stores `count` small events, one append each.
    pub(super) fn fill(&self, stream: &str, count: u64) {
        for _ in 0..count {
            self.append_one(stream);
        }
    }

    /// Stores a small event and returns the revision.
    pub(super) fn append_one(&self, stream: &str) -> u64 {
        self.append_data(stream, bytes::Bytes::from_static(b"data"))
    }

    /// Stores an event with `data` and returns the revision.
    pub(super) fn append_data(&self, stream: &str, data: bytes::Bytes) -> u64 {
        let event = taffrail_core::event::NewEvent {
            id: taffrail_core::ids::EventId::new(taffrail_runtime::new_uuid()),
            event_type: taffrail_core::names::EventType::new("T").unwrap(),
            content_type: String::new(),
            data,
            metadata: bytes::Bytes::new(),
            tags: vec![],
            correlation_id: String::new(),
            causation_id: String::new(),
            occurred_at_us: None,
        };
        let stream = StreamName::new(stream).unwrap();
        let append = Append { stream, expected: ExpectedRevision::Any, events: vec![event] };
        self.append(append).unwrap().first_revision.get()
    }
}

struct FakeReader(Arc<Data>);

fn page<'a, N>(
    events: impl DoubleEndedIterator<Item = &'a RecordedEvent>,
    direction: Direction,
    bounds: PageBounds,
    place: impl Fn(&RecordedEvent) -> N,
) -> Page<N> {
    let most = bounds.events_max + 1;
    let mut events: Vec<RecordedEvent> = match direction {
        Direction::Forward => events.take(most).cloned().collect(),
        Direction::Backward => events.rev().take(most).cloned().collect(),
    };
    let mut bytes = 0;
    let fits = |e: &&RecordedEvent| {
        bytes += e.event.size();
        bytes <= bounds.bytes_max
    };
    let count = events.iter().take_while(fits).count().max(1).min(bounds.events_max);
    let next = events.get(count).map(place);
    events.truncate(count);
    Page { events, next }
}

impl StoreReader for FakeReader {
    fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<Revision>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Revision>, ReadError> {
        let all = self.0.events.lock().unwrap();
        let of = || all.iter().filter(|e| &e.stream == stream);
        if of().next().is_none() {
            return Err(ReadError::StreamNotFound(stream.clone()));
        }
        let wanted = of().filter(|e| match (direction, from) {
            (_, None) => true,
            (Direction::Forward, Some(from)) => e.revision >= from,
            (Direction::Backward, Some(from)) => e.revision <= from,
        });
        Ok(self.0.counted(page(wanted, direction, bounds, |e| e.revision)))
    }
    fn read_all(
        &self,
        from: Option<Position>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Position>, ReadError> {
        let all = self.0.events.lock().unwrap();
        let wanted = all.iter().filter(|e| match (direction, from) {
            (_, None) => true,
            (Direction::Forward, Some(from)) => e.position >= from,
            (Direction::Backward, Some(from)) => e.position <= from,
        });
        Ok(self.0.counted(page(wanted, direction, bounds, |e| e.position)))
    }
    fn list_streams(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamSummary>, ReadError> {
        let mut tails = BTreeMap::new();
        for e in self.0.events.lock().unwrap().iter() {
            tails.insert(e.stream.clone(), e.revision);
        }
        let wanted = tails
            .into_iter()
            .filter(|(name, _)| name.as_str().starts_with(prefix) && after.is_none_or(|after| name > after))
            .map(|(stream, last_revision)| StreamSummary { stream, last_revision });
        Ok(wanted.take(limit).collect())
    }
    fn stream_tail(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        Ok(match Data::tail(&self.0.events.lock().unwrap(), stream) {
            Tail::Empty => None,
            Tail::At(r) => Some(r),
        })
    }
    fn totals(&self) -> Result<StoreTotals, ReadError> {
        let events = self.0.events.lock().unwrap().len() as u64;
        let last_position = Position::new(events).unwrap();
        Ok(StoreTotals { events, last_position, digest: Digest::default(), applied_index: events })
    }
}

fn hint(node: NodeId) -> LeaderHint {
    LeaderHint { node, replica: ReplicaId::new(node.get() + 100), term: TERM }
}

/// A replica of the store on a node.
pub(super) struct FakeReplica {
    data: Arc<Data>,
    node: NodeId,
    leader: Arc<Mutex<Option<NodeId>>>,
    /// `None` once the replica has stopped.
    applied: Mutex<Option<watch::Sender<Applied>>>,
    /// Scripted errors for the next appends, in place of the outcome of the store.
    script: Mutex<VecDeque<AppendError>>,
    /// True while no call is answered, not even at the deadline.
    hangs: AtomicBool,
    /// True while no event is applied.
    lags: watch::Sender<bool>,
    /// The requests of the queued appends, in place of an answer; `None` while appends are answered.
    queue: Mutex<Option<Vec<RequestMemory>>>,
    /// Number of queued appends whose callers have gone.
    pub(super) abandoned: watch::Sender<usize>,
    /// Number of appends received.
    pub(super) asked: AtomicUsize,
}

/// Counts a caller that leaves before the answer.
struct Abandoned<'a>(&'a FakeReplica);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        self.0.abandoned.send_modify(|n| *n += 1);
    }
}

impl FakeReplica {
    /// Applies no further event until [`catch_up`](Self::catch_up).
    pub(super) fn lag(&self) {
        self.lags.send_replace(true);
    }
    /// Applies all events.
    pub(super) fn catch_up(&self) {
        // A read index is answered only after the events are applied.
        self.apply(self.data.events.lock().unwrap().len() as u64);
        self.lags.send_replace(false);
    }
    fn tell(&self, last: u64) {
        if !*self.lags.borrow() {
            self.apply(last);
        }
    }
    fn apply(&self, last: u64) {
        if let Some(applied) = self.applied.lock().unwrap().as_ref() {
            applied.send_modify(|now| {
                *now = Applied { index: last, position: Position::new(last).unwrap(), rules: 1, ..*now };
            });
        }
    }
    /// Applies settings that close the store.
    pub(super) fn close(&self) {
        if let Some(applied) = self.applied.lock().unwrap().as_ref() {
            applied.send_modify(|now| now.settings.closed = true);
        }
    }
    /// Scripts the error of the next append.
    pub(super) fn next_append(&self, error: AppendError) {
        self.script.lock().unwrap().push_back(error);
    }
    /// Ends the progress of the applied state, as a replica does that stops.
    pub(super) fn stop(&self) {
        self.applied.lock().unwrap().take();
    }
    /// Stops answering, for all later calls.
    pub(super) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }
    /// Keeps all later appends in the queue, as a leader does whose disk stalls.
    pub(super) fn stall(&self) {
        *self.queue.lock().unwrap() = Some(Vec::new());
    }
    /// Drops the queue and answers appends again.
    pub(super) fn resume(&self) {
        self.queue.lock().unwrap().take();
    }
    fn queued(&self, memory: RequestMemory) -> bool {
        self.queue.lock().unwrap().as_mut().map(|queue| queue.push(memory)).is_some()
    }
    async fn hangs(&self) {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
    fn serving(&self) -> bool {
        self.applied.lock().unwrap().is_some()
    }
    fn hint(&self) -> Option<LeaderHint> {
        self.leader.lock().unwrap().map(hint)
    }
}

#[async_trait::async_trait]
impl StoreReplica for FakeReplica {
    async fn append(&self, append: Append, memory: RequestMemory, _: Instant) -> Result<Appended, AppendError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.queued(memory) {
            let _abandoned = Abandoned(self);
            std::future::pending::<()>().await;
        }
        self.hangs().await;
        if let Some(error) = self.script.lock().unwrap().pop_front() {
            return Err(error);
        }
        if !self.serving() {
            return Err(AppendError::NotServing("stopped".into()));
        }
        if !self.is_leader() {
            return Err(AppendError::NotLeader(self.hint()));
        }
        Ok(self.data.append(append)?)
    }
    async fn read_index(&self, deadline: Instant) -> Result<(), ReadError> {
        self.hangs().await;
        let mut lags = self.lags.subscribe();
        let caught_up = async { lags.wait_for(|lags| !lags).await.is_ok() };
        if tokio::time::timeout_at(deadline, caught_up).await.is_err() {
            return Err(ReadError::NoReadIndex("not confirmed within the deadline"));
        }
        if self.serving() { Ok(()) } else { Err(ReadError::NotServing("stopped".into())) }
    }
    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(FakeReader(Arc::clone(&self.data)))
    }
    fn applied(&self) -> watch::Receiver<Applied> {
        match self.applied.lock().unwrap().as_ref() {
            Some(applied) => applied.subscribe(),
            None => watch::channel(Applied::default()).1,
        }
    }
    fn leader(&self) -> Option<LeaderHint> {
        self.hint()
    }
    fn is_leader(&self) -> bool {
        *self.leader.lock().unwrap() == Some(self.node)
    }
}

/// A scripted outcome of the creation or removal of a store.
pub(super) enum StoreChange {
    Fails(StoreChangeError),
    WaitsFor(&'static str),
    NeverAnswers,
}

/// A node, with or without a replica.
pub(super) struct FakeNode {
    id: NodeId,
    store: StoreName,
    data: Arc<Data>,
    leader: Arc<Mutex<Option<NodeId>>>,
    replica: Mutex<Option<Arc<FakeReplica>>>,
    /// Nodes with a replica.
    holders: Vec<NodeId>,
    peers: Mutex<BTreeMap<NodeId, Channel>>,
    namespaces: Arc<Mutex<Vec<String>>>,
    changes: watch::Sender<u64>,
    /// False before the node is a member of a cluster.
    member: AtomicBool,
    /// Scripted outcomes of the next creations and removals of stores, in place of success.
    pub(super) store_changes: Mutex<VecDeque<StoreChange>>,
    /// The reason why the node takes no appends as leader.
    pub(super) low: Mutex<Option<StorageLow>>,
    /// The id of the store; changes when the store is removed and created again.
    pub(super) store_id: Mutex<StoreId>,
}

/// The state shared by the nodes of a fake cluster.
#[derive(Clone, Default)]
pub(super) struct World {
    /// The events of the store.
    pub(super) data: Arc<Data>,
    leader: Arc<Mutex<Option<NodeId>>>,
    /// Other namespaces with a store of the same name.
    namespaces: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// Declares a store of the same name in another namespace.
    pub(super) fn declare_in(&self, namespace: &str) {
        self.namespaces.lock().unwrap().push(namespace.to_owned());
    }
    /// Removes the stores of all other namespaces.
    pub(super) fn remove_others(&self) {
        self.namespaces.lock().unwrap().clear();
    }

    /// Sets the leader; `None` leaves the store without a leader.
    pub(super) fn lead(&self, node: Option<u64>) {
        *self.leader.lock().unwrap() = node.map(NodeId::new);
    }

    /// Creates a node of this cluster, with a replica if `holders` contains `id`.
    pub(super) fn node(&self, id: u64, holders: &[u64]) -> Arc<FakeNode> {
        let id = NodeId::new(id);
        let holders: Vec<NodeId> = holders.iter().copied().map(NodeId::new).collect();
        let replica = holders.contains(&id).then(|| {
            let replica = Arc::new(FakeReplica {
                data: Arc::clone(&self.data),
                node: id,
                leader: Arc::clone(&self.leader),
                applied: Mutex::new(Some(watch::channel(Applied::default()).0)),
                script: Mutex::default(),
                hangs: AtomicBool::new(false),
                lags: watch::channel(false).0,
                queue: Mutex::default(),
                abandoned: watch::channel(0).0,
                asked: AtomicUsize::new(0),
            });
            replica.tell(self.data.events.lock().unwrap().len() as u64);
            self.data.replicas.lock().unwrap().push(Arc::clone(&replica));
            replica
        });
        Arc::new(FakeNode {
            id,
            store: StoreName::new("default", "orders").unwrap(),
            data: Arc::clone(&self.data),
            leader: Arc::clone(&self.leader),
            replica: Mutex::new(replica),
            holders,
            peers: Mutex::default(),
            namespaces: Arc::clone(&self.namespaces),
            changes: watch::channel(0).0,
            member: AtomicBool::new(true),
            store_changes: Mutex::default(),
            low: Mutex::default(),
            store_id: Mutex::new(STORE_ID),
        })
    }
}

impl FakeNode {
    /// Takes the node out of the cluster.
    pub(super) fn leave(&self) {
        self.member.store(false, Ordering::SeqCst);
    }
    /// Sets the channel to a peer.
    pub(super) fn connect(&self, peer: u64, channel: Channel) {
        self.peers.lock().unwrap().insert(NodeId::new(peer), channel);
    }
    /// Removes the channel to a peer, as a node does after the identity of the peer is no longer proven.
    pub(super) fn disconnect(&self, peer: u64) {
        self.peers.lock().unwrap().remove(&NodeId::new(peer));
    }
    /// Returns the replica of this node.
    pub(super) fn replica(&self) -> Arc<FakeReplica> {
        self.replica.lock().unwrap().clone().unwrap()
    }
    /// Stops and removes the replica of this node.
    pub(super) fn lose_replica(&self) {
        let replica = self.replica.lock().unwrap().take().unwrap();
        replica.applied.lock().unwrap().take();
    }
    async fn change_store(&self) -> Result<Option<String>, StoreChangeError> {
        let scripted = self.store_changes.lock().unwrap().pop_front();
        match scripted {
            None => Ok(None),
            Some(StoreChange::Fails(error)) => Err(error),
            Some(StoreChange::WaitsFor(why)) => Ok(Some(why.to_owned())),
            Some(StoreChange::NeverAnswers) => std::future::pending().await,
        }
    }
    fn others(&self, first: Option<NodeId>) -> Vec<NodeId> {
        let mut others: Vec<NodeId> = self.holders.iter().copied().filter(|n| *n != self.id).collect();
        others.sort_by_key(|n| Some(*n) != first);
        others
    }
}

#[async_trait::async_trait]
impl Node for FakeNode {
    async fn resolve(&self, name: &StoreName, _: Instant) -> Result<StoreRef, ResolveError> {
        if *name != self.store {
            return Err(ResolveError::NotFound { wanted: name.clone(), nearest: vec![self.store.clone()] });
        }
        Ok(StoreRef {
            id: *self.store_id.lock().unwrap(),
            name: name.clone(),
            group: GroupId::new(1),
            nodes: self.holders.clone(),
            leader: self.leader.lock().unwrap().map(hint),
        })
    }
    fn route_write(&self, _: &StoreRef) -> Route {
        let leader = *self.leader.lock().unwrap();
        let replica = self.replica.lock().unwrap().clone();
        match replica {
            Some(replica) if leader.is_none() || leader == Some(self.id) => Route::Local(replica),
            Some(_) | None => Route::Remote(leader.map_or_else(|| self.others(None), |leader| vec![leader])),
        }
    }
    fn storage_low(&self) -> Option<StorageLow> {
        *self.low.lock().unwrap()
    }
    fn route_read(&self, _: &StoreRef) -> Route {
        match self.replica.lock().unwrap().clone() {
            Some(replica) => Route::Local(replica),
            None => Route::Remote(self.others(None)),
        }
    }
    fn peer_channel(&self, node: NodeId) -> Option<PeerChannel> {
        self.peers.lock().unwrap().get(&node).cloned().map(taffrail_store_api::peer_channel)
    }
    fn client_address(&self, node: NodeId) -> Option<String> {
        Some(format!("node-{node}:2113"))
    }
    async fn stores(&self, filter: &StoreFilter) -> Vec<v1::Store> {
        let store = |namespace: &str, name: &str, state: v1::StoreState| v1::Store {
            id: STORE_ID.to_string(),
            namespace: namespace.into(),
            name: name.into(),
            state: state.into(),
            ..v1::Store::default()
        };
        let mut stores =
            vec![store("default", "old", v1::StoreState::Retained), store("default", "orders", v1::StoreState::Active)];
        stores.extend(self.namespaces.lock().unwrap().iter().map(|n| store(n, "orders", v1::StoreState::Active)));
        stores.retain(|s| {
            let name = StoreName::new(&s.namespace, &s.name).unwrap();
            filter.selects(&name, STORE_ID, s.state() == v1::StoreState::Retained)
        });
        stores.truncate(filter.limit);
        stores
    }
    fn stores_with_name(&self, name: &str) -> Vec<StoreName> {
        let namespaces = self.namespaces.lock().unwrap();
        let all = [self.store.namespace()].into_iter().chain(namespaces.iter().map(String::as_str));
        all.filter(|_| name == self.store.name()).map(|n| StoreName::new(n, name).unwrap()).collect()
    }
    async fn store(&self, name: &StoreName, deadline: Instant) -> Result<v1::Store, ResolveError> {
        self.resolve(name, deadline).await?;
        let event_count = Some(self.data.events.lock().unwrap().len() as u64);
        let (name, namespace) = (name.name().into(), name.namespace().into());
        Ok(v1::Store { name, namespace, event_count, ..v1::Store::default() })
    }
    async fn create_store(&self, name: &StoreName, replicas: u32, _: Instant) -> Result<v1::Store, StoreChangeError> {
        self.change_store().await?;
        let (name, namespace) = (name.name().into(), name.namespace().into());
        Ok(v1::Store { name, namespace, replicas, id: STORE_ID.to_string(), ..v1::Store::default() })
    }
    async fn remove_store(&self, id: StoreId, _: Instant) -> Result<Option<String>, StoreChangeError> {
        assert_eq!(id, STORE_ID);
        self.change_store().await
    }
    fn cluster_status(&self) -> v1::ClusterStatus {
        v1::ClusterStatus { answered_by_node_id: self.id.get(), ..v1::ClusterStatus::default() }
    }
    fn cluster_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn node_id(&self) -> Option<NodeId> {
        self.member.load(Ordering::SeqCst).then_some(self.id)
    }
    fn cluster_id(&self) -> Option<ClusterId> {
        None
    }
}
