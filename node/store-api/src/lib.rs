//! The port between gateway and storage: the gateway's traits for access to stores, and their errors.
//!
//! The gateway calls and the node implements the traits. [`Node::resolve`] finds a store by name,
//! [`Node::route_write`] and [`Node::route_read`] return the nodes that can serve a call, [`StoreReplica`] appends and
//! confirms reads, [`StoreReader`] reads pages. The crate owns no state and holds no logic; Raft, RocksDB and
//! Kubernetes are unknown to the crate.
//!
//! A linearizable read of a local replica confirms the read index before the first page:
//!
//! ```
//! use taffrail_core::names::StreamName;
//! use taffrail_store_api::{Direction, PageBounds, ReadError, StoreReplica};
//! use tokio::time::Instant;
//!
//! /// Number of events of a stream, as of the beginning of the call.
//! async fn count(replica: &dyn StoreReplica, stream: &StreamName, deadline: Instant) -> Result<usize, ReadError> {
//!     replica.read_index(deadline).await?;
//!     let (reader, bounds) = (replica.reader(), PageBounds { events_max: 100, bytes_max: 1 << 20 });
//!     let (mut events, mut from) = (0, None);
//!     loop {
//!         let page = reader.read_stream(stream, from, Direction::Forward, bounds)?;
//!         events += page.events.len();
//!         match page.next {
//!             Some(next) => from = Some(next),
//!             None => return Ok(events),
//!         }
//!     }
//! }
//! ```

use std::{any::Any, sync::Arc};
use taffrail_core::{
    append::{Append, Appended, Rejected},
    catalogue::Refused,
    event::RecordedEvent,
    ids::{ClusterId, GroupId, NodeId, Position, ReplicaId, Revision, StoreId},
    names::{StoreName, StreamName},
    stream::Settings,
};
use tokio::{sync::watch, time::Instant};
use tonic::{body::Body, codegen::StdError};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// The leader of a group, as one replica knows the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// Node of the leader.
    pub node: NodeId,
    /// Replica id of the leader in the group.
    pub replica: ReplicaId,
    /// Term of the replica that gives the hint; of two hints, the hint with the higher term is newer.
    pub term: u64,
}

/// Failure of an append. Only [`Unknown`](Self::Unknown) leaves open whether the append is stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Refused by the rules, with the same reason on every replica.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Not proposed: this replica does not lead the store's group.
    #[error("this replica does not lead the store; send the append to the leader")]
    NotLeader(Option<LeaderHint>),
    /// Not proposed: the proposal queue is full.
    #[error("too many appends are waiting for this store; retry after a pause")]
    Overloaded,
    /// Not proposed: a disk is nearly full.
    #[error("{0}; nothing was proposed")]
    StorageLow(StorageLow),
    /// Not proposed: the deadline passed before the proposal.
    #[error("the deadline passed before the append was proposed")]
    DeadlineBeforeProposal,
    /// Proposed without an answer: the append may still be stored.
    #[error("the outcome of the append is unknown: {0}")]
    Unknown(&'static str),
    /// Not proposed: this replica was stopped or fenced.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
}

/// Reason why a leader takes no appends: a disk is nearly full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageLow {
    /// The disk of the leader's node.
    #[error("the disk of the leader's node is nearly full: {free_bytes} bytes are free, {needed_bytes} are needed")]
    Leader {
        /// Bytes that the node may still write.
        free_bytes: u64,
        /// Bytes that must be free for appends.
        needed_bytes: u64,
    },
    /// The disks of other voters: fewer than a majority of the voters take entries.
    #[error("the disks of so many voters are nearly full that no majority takes entries")]
    Voters,
}

/// Failure of a read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream has no events.
    #[error("stream {0} does not exist")]
    StreamNotFound(StreamName),
    /// No leader confirmed a read index in time.
    #[error("the read could not be confirmed by a majority: {0}")]
    NoReadIndex(&'static str),
    /// The deadline passed before the answer.
    #[error("the deadline passed before the read was answered")]
    Deadline,
    /// The call names a position beyond the end of the store, as of a read index.
    #[error("position {position} is beyond the end of the store, whose last position is {last}")]
    PositionAhead {
        /// Position of the call.
        position: Position,
        /// Last position of the store.
        last: Position,
    },
    /// This replica was stopped or fenced.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
    /// Stored bytes do not decode or do not match their checksum. Such bytes are never served and never
    /// treated as absent.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The disk or the state database failed.
    #[error("storage failed: {0}")]
    Storage(String),
}

/// Counts the memory of a request until the last clone is dropped. The holder of a payload keeps a clone beside the payload,
/// also after the caller has gone.
pub type RequestMemory = Arc<dyn Any + Send + Sync>;

/// Direction of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By rising revision or position.
    Forward,
    /// By falling revision or position.
    Backward,
}

/// A bounded part of a read, in reading order, and the start of the next page.
#[derive(Clone, Debug, Default)]
pub struct Page<Next> {
    /// Events within the bounds; a single event may exceed the bound on bytes.
    pub events: Vec<RecordedEvent>,
    /// Start of the next page, inclusive and in reading direction. `None` at the end of the stream or store as
    /// of this read.
    pub next: Option<Next>,
}

/// Entry of a stream listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Name of the stream.
    pub stream: StreamName,
    /// Revision of the last event.
    pub last_revision: Revision,
}

/// Progress of a local replica's applied state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Index of the last applied log entry.
    pub index: u64,
    /// Last position of the store; 0 before the first event.
    pub position: Position,
    /// Rules number for the next proposal.
    pub rules: u32,
    /// Settings in force. A closed store refuses every new append on all replicas.
    pub settings: Settings,
    /// Time of the last append, Unix time in microseconds; 0 before the first append.
    pub recorded_us: u64,
}

/// Bounds of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Maximum number of events.
    pub events_max: usize,
    /// Maximum number of bytes (data and metadata). A page holds at least one event, even a larger event.
    pub bytes_max: usize,
}

/// Reads the applied state of a replica.
///
/// The gateway calls a reader on its bounded pool of blocking readers, because every call may wait for the disk. Each
/// call sees one consistent state, which may be older than the leader's; [`StoreReplica::read_index`] makes a
/// following read linearizable.
pub trait StoreReader: Send + Sync + 'static {
    /// Reads events of a stream from `from`, inclusive. `None` stands for the first event forward and for the
    /// last event backward.
    ///
    /// # Errors
    /// Returns [`ReadError::StreamNotFound`], [`ReadError::NotServing`],
    /// [`ReadError::Corrupt`] or [`ReadError::Storage`].
    fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<Revision>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Revision>, ReadError>;
    /// Reads events of the store in commit order from `from`, inclusive. `None` stands for the first event forward and
    /// for the last event backward.
    ///
    /// # Errors
    /// Returns [`ReadError::NotServing`], [`ReadError::Corrupt`] or [`ReadError::Storage`].
    fn read_all(
        &self,
        from: Option<Position>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Position>, ReadError>;
    /// Lists at most `limit` streams with `prefix`, in name order, after the name `after`.
    ///
    /// # Errors
    /// Returns [`ReadError::NotServing`], [`ReadError::Corrupt`] or [`ReadError::Storage`].
    fn list_streams(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamSummary>, ReadError>;
    /// Returns the revision of a stream's last event, or `None` when the stream has no event.
    ///
    /// # Errors
    /// Returns [`ReadError::NotServing`], [`ReadError::Corrupt`] or [`ReadError::Storage`].
    fn stream_tail(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError>;
    /// Returns the counters of the applied state.
    ///
    /// # Errors
    /// Returns [`ReadError::Corrupt`] or [`ReadError::Storage`].
    fn totals(&self) -> Result<StoreTotals, ReadError>;
}

/// Counters of a replica's applied state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTotals {
    /// Number of stored events.
    pub events: u64,
    /// Position of the last event.
    pub last_position: Position,
    /// Running digest of all outcomes.
    pub digest: taffrail_core::ids::Digest,
    /// Last applied log index as of these counters.
    pub applied_index: u64,
}

/// A replica of a store on this node.
///
/// The gateway gets a replica from [`Route::Local`] and calls the replica from many tasks at once. The replica is open
/// when a call begins; a replica that is stopped meanwhile answers `NotServing`. Only a read index is retried by the
/// replica, until the deadline; every other retry is the gateway's.
#[async_trait::async_trait]
pub trait StoreReplica: Send + Sync + 'static {
    /// Proposes an append and waits until this replica has applied the append. Only the leader proposes. The replica keeps
    /// `memory` until the proposal ends, also when the caller no longer waits.
    async fn append(&self, append: Append, memory: RequestMemory, deadline: Instant) -> Result<Appended, AppendError>;
    /// Waits until this replica has applied every write acknowledged before the call.
    async fn read_index(&self, deadline: Instant) -> Result<(), ReadError>;
    /// Returns the reader of the applied state.
    fn reader(&self) -> Arc<dyn StoreReader>;
    /// Returns a receiver of the applied state's progress. The channel closes when the replica stops.
    fn applied(&self) -> watch::Receiver<Applied>;
    /// Returns the leader, as far as this replica knows.
    fn leader(&self) -> Option<LeaderHint>;
    /// Returns true while this replica leads its group.
    fn is_leader(&self) -> bool;
}

/// A store as recorded in the applied catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRef {
    /// Id of the store.
    pub id: StoreId,
    /// Name of the store.
    pub name: StoreName,
    /// Raft group of the store.
    pub group: GroupId,
    /// Nodes with a replica, lowest id first.
    pub nodes: Vec<NodeId>,
    /// Last known leader; `None` on a node without a replica of the store.
    pub leader: Option<LeaderHint>,
}

/// Selection of the stores of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFilter {
    /// Includes retained stores.
    pub include_retained: bool,
    /// Namespace of the stores; `None` selects all namespaces.
    pub namespace: Option<String>,
    /// Prefix of the names within the namespace.
    pub name_prefix: String,
    /// Last store of the previous page.
    pub after: Option<(StoreName, StoreId)>,
    /// Largest number of stores.
    pub limit: usize,
}

impl StoreFilter {
    /// True for a store of the selection, apart from the limit.
    #[must_use]
    pub fn selects(&self, name: &StoreName, id: StoreId, retained: bool) -> bool {
        (self.include_retained || !retained)
            && self.namespace.as_ref().is_none_or(|namespace| namespace == name.namespace())
            && name.name().starts_with(&self.name_prefix)
            && self.after.as_ref().is_none_or(|(last, last_id)| (last, *last_id) < (name, id))
    }
}

/// Nodes that can serve a call.
#[derive(Clone)]
pub enum Route {
    /// This node, with its replica.
    Local(Arc<dyn StoreReplica>),
    /// Other nodes, best first; their channels come from [`Node::peer_channel`].
    Remote(Vec<NodeId>),
}

/// Failure to resolve a store name.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The catalogue has no such store; a read index confirmed the catalogue.
    #[error("store {wanted} does not exist")]
    NotFound {
        /// Name in the request.
        wanted: StoreName,
        /// Most similar names, at most three.
        nearest: Vec<StoreName>,
    },
    /// The store is retained: its data is kept but not served.
    #[error("store {0} is retained: its data is kept but not served")]
    Retained(StoreName),
    /// The store and its data are being removed.
    #[error("store {0} is being removed")]
    Removing(StoreName),
    /// No store with this name is known, and no majority of the system group confirmed the catalogue.
    #[error("the catalogue could not be confirmed by a majority of the system group: {0}")]
    Unconfirmed(&'static str),
    /// This node is not a member yet, or is fenced.
    #[error("this node is not serving: {0}")]
    NotServing(String),
}

/// Failure to create or remove a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreChangeError {
    /// The rules of the catalogue refuse the change; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not proposed: no coordinator was found within the deadline.
    #[error("no coordinator took the change: {0}")]
    NoCoordinator(String),
    /// Proposed without an answer: the change may still be carried out. A repeat is safe.
    #[error("the outcome of the change is unknown: {0}")]
    Unknown(String),
    /// This node is not a member yet, or is fenced.
    #[error("this node is not serving: {0}")]
    NotServing(String),
}

/// A verified connection to a peer's port 2114, for forwarded gRPC calls. Clones share the connection. Production wraps a
/// connection of tonic; a simulation delivers the calls within the process.
pub type PeerChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, PeerChannelError>;

/// Failure of a [`PeerChannel`]; the source is the error of the connection.
#[derive(Debug, thiserror::Error)]
#[error("the call to the peer failed: {0}")]
pub struct PeerChannelError(#[source] StdError);

/// Makes a [`PeerChannel`] from a connection.
pub fn peer_channel<S>(connection: S) -> PeerChannel
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<StdError> + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(connection.map_err(|error: S::Error| PeerChannelError(error.into())))
}

/// A node as seen by the gateway.
///
/// The gateway holds a single `Node` for its whole lifetime and calls the `Node` for every request. Answers come from
/// the applied catalogue, which may be older than the leader's; only [`resolve`](Self::resolve) confirms a miss. A
/// route is a hint: the named replica may have stopped or lost leadership by the time of the call.
#[async_trait::async_trait]
pub trait Node: Send + Sync + 'static {
    /// Finds a store. Before the call fails, a read index on the system group confirms the miss. Concurrent misses
    /// share a read index, and the rate of these read indexes is limited.
    async fn resolve(&self, name: &StoreName, deadline: Instant) -> Result<StoreRef, ResolveError>;
    /// Returns the nodes that accept an append.
    fn route_write(&self, store: &StoreRef) -> Route;
    /// Returns the reason why this node takes no appends as leader; `None` while the disk has room.
    fn storage_low(&self) -> Option<StorageLow>;
    /// Returns the nodes that serve a read.
    fn route_read(&self, store: &StoreRef) -> Route;
    /// Returns a verified connection to a peer's port 2114, for forwarded calls of `taffrail.v1`, or `None`
    /// without a connection.
    fn peer_channel(&self, node: NodeId) -> Option<PeerChannel>;
    /// Returns the address of a node for clients, `host:port`, or `None` while the address is not known.
    fn client_address(&self, node: NodeId) -> Option<String>;
    /// Returns a page of the stores of the applied catalogue in their wire form, ordered by name and id. Retained stores
    /// are included on request, stores under removal always.
    async fn stores(&self, filter: &StoreFilter) -> Vec<taffrail_proto::v1::Store>;
    /// Returns the active stores with this name in any namespace of the applied catalogue, ordered by name.
    fn stores_with_name(&self, name: &str) -> Vec<StoreName>;
    /// Returns a store with the state of its replicas, as far as this node knows.
    async fn store(&self, name: &StoreName, deadline: Instant) -> Result<taffrail_proto::v1::Store, ResolveError>;
    /// Creates an undeclared store, and returns the store. A repeat with the same settings changes nothing.
    async fn create_store(
        &self,
        name: &StoreName,
        replicas: u32,
        deadline: Instant,
    ) -> Result<taffrail_proto::v1::Store, StoreChangeError>;
    /// Removes an undeclared store. Returns the cause of a wait, or `None` once every node has removed the
    /// data. A repeat changes nothing.
    async fn remove_store(&self, id: StoreId, deadline: Instant) -> Result<Option<String>, StoreChangeError>;
    /// Returns the status of the cluster, as far as this node knows.
    fn cluster_status(&self) -> taffrail_proto::v1::ClusterStatus;
    /// Returns a counter that rises whenever the cluster status may have changed.
    fn cluster_changes(&self) -> watch::Receiver<u64>;
    /// Returns the id of this node, or `None` before the node is a member.
    fn node_id(&self) -> Option<NodeId>;
    /// Returns the id of the cluster, or `None` before the node belongs to a cluster.
    fn cluster_id(&self) -> Option<ClusterId>;
}

/// Required freshness of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The read sees every write acknowledged before the start of the read.
    Linearizable,
    /// The read sees the applied state of the replica, however old.
    Stale,
    /// The read sees every event up to this position.
    AtLeast(Position),
}
