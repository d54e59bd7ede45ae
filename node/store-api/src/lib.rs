//! The port between gateway and storage: the traits through which the gateway reaches stores, and their errors.
//!
//! The gateway calls; the node implements. [`Node::resolve`] finds a store by name, [`Node::route_write`] and
//! [`Node::route_read`] say where a call can be served, [`StoreReplica`] appends and confirms reads, [`StoreReader`]
//! reads pages. The crate owns no state and holds no logic; Raft, RocksDB and Kubernetes are unknown to it.
//!
//! A linearizable read of a local replica confirms the read index before it reads:
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

use std::sync::Arc;
use taffrail_core::{
    append::{Append, Appended, Rejected},
    event::RecordedEvent,
    ids::{ClusterId, GroupId, NodeId, Position, ReplicaId, Revision, StoreId},
    names::{StoreName, StreamName},
};
use tokio::{sync::watch, time::Instant};

/// The leader of a group, by node and replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader's node.
    pub node: NodeId,
    /// The leader's replica of the group.
    pub replica: ReplicaId,
}

/// Failure of an append. Only [`Unknown`](Self::Unknown) leaves open whether the append is stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Refused by the rules, with the same reason on every replica.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Not proposed: this replica does not lead.
    #[error("this replica does not lead the store; send the append to the leader")]
    NotLeader(Option<LeaderHint>),
    /// Not proposed: the proposal queue is full.
    #[error("too many appends are waiting for this store; retry after a pause")]
    Overloaded,
    /// Not proposed: the deadline passed first.
    #[error("the deadline passed before the append was proposed")]
    DeadlineBeforeProposal,
    /// Proposed, and no answer arrived: the append may still be stored.
    #[error("the outcome of the append is unknown: {0}")]
    Unknown(&'static str),
    /// Not proposed: this replica was stopped or fenced.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
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
    /// The deadline passed.
    #[error("the deadline passed before the read was answered")]
    Deadline,
    /// This replica was stopped or fenced.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
    /// Stored bytes do not decode or do not match their checksum. Such bytes are never served and never read as absent.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// The disk failed.
    #[error("storage failed: {0}")]
    Storage(String),
}

/// Reading direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Rising.
    Forward,
    /// Falling.
    Backward,
}

/// A bounded part of a read, in reading order, and the start of the next page.
#[derive(Clone, Debug, Default)]
pub struct Page<Next> {
    /// Events within the bounds; a single event may exceed the bytes.
    pub events: Vec<RecordedEvent>,
    /// Start of the next page (inclusive, in reading direction); `None` at the end as of this read.
    pub next: Option<Next>,
}

/// One line of a stream listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Name of the stream.
    pub stream: StreamName,
    /// Revision of the last event.
    pub last_revision: Revision,
}

/// How far a local replica has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Log index.
    pub index: u64,
    /// Last position, 0 before the first event.
    pub position: Position,
    /// Number of the rules for the next proposal.
    pub rules: u32,
}

/// Bounds of one page.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Events at most.
    pub events_max: usize,
    /// Bytes (data and metadata) at most, but at least one event.
    pub bytes_max: usize,
}

/// Reads the applied state of one replica.
///
/// The gateway calls it on its bounded pool of blocking readers, because every call may wait for the disk. Each call
/// sees one consistent state, which may be older than the leader's; [`StoreReplica::read_index`] makes a following read
/// linearizable.
pub trait StoreReader: Send + Sync + 'static {
    /// Events of a stream from `from` (inclusive; `None` backward: the end).
    ///
    /// # Errors
    /// `StreamNotFound`, `Corrupt`, `Storage`.
    fn read_stream(
        &self,
        stream: &StreamName,
        from: Option<Revision>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Revision>, ReadError>;
    /// Events of the store in commit order from `from` (inclusive; `None` backward: the end).
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    fn read_all(
        &self,
        from: Option<Position>,
        direction: Direction,
        bounds: PageBounds,
    ) -> Result<Page<Position>, ReadError>;
    /// Streams with `prefix`, in name order, after `after`.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    fn list_streams(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamSummary>, ReadError>;
    /// Revision of a stream's last event; `None` when the stream has no event.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    fn stream_tail(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError>;
    /// Counters of the applied state.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    fn totals(&self) -> Result<StoreTotals, ReadError>;
}

/// Counters of one replica's applied state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTotals {
    /// Events stored.
    pub events: u64,
    /// Last position.
    pub last_position: Position,
    /// Running digest of all outcomes.
    pub digest: taffrail_core::ids::Digest,
    /// Log index of these counters.
    pub applied_index: u64,
}

/// A replica of a store on this node.
///
/// The gateway gets a replica from [`Route::Local`] and calls it from many tasks at once. A call may assume that the
/// replica is open when the call begins; a replica that is stopped meanwhile answers `NotServing`. Only a
/// read index is retried here, until the deadline; every other retry is the gateway's.
#[async_trait::async_trait]
pub trait StoreReplica: Send + Sync + 'static {
    /// Proposes one append and waits until it is applied on this replica. Only the leader proposes.
    async fn append(&self, append: Append, deadline: Instant) -> Result<Appended, AppendError>;
    /// Waits until this replica has applied every write that was acknowledged before the call.
    async fn read_index(&self, deadline: Instant) -> Result<(), ReadError>;
    /// The reader of applied state.
    fn reader(&self) -> Arc<dyn StoreReader>;
    /// Receives how far the replica has applied; closes when the replica stops.
    fn applied(&self) -> watch::Receiver<Applied>;
    /// The leader that this replica knows.
    fn leader(&self) -> Option<LeaderHint>;
    /// True while this replica leads its group.
    fn is_leader(&self) -> bool;
}

/// A store as the applied catalogue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRef {
    /// Id of the store.
    pub id: StoreId,
    /// Name of the store.
    pub name: StoreName,
    /// Raft group of the store.
    pub group: GroupId,
    /// Nodes that have a replica, lowest first.
    pub nodes: Vec<NodeId>,
    /// Node of the last known leader.
    pub leader: Option<NodeId>,
}

/// Nodes that can serve a call.
#[derive(Clone)]
pub enum Route {
    /// This node, by its replica.
    Local(Arc<dyn StoreReplica>),
    /// Other nodes, best first; their channels come from [`Node::peer_channel`].
    Remote(Vec<NodeId>),
}

/// Failure to resolve a store name.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The catalogue, confirmed by a read index, has no such store.
    #[error("store {wanted} does not exist")]
    NotFound {
        /// The requested name.
        wanted: StoreName,
        /// The nearest names, at most three.
        nearest: Vec<StoreName>,
    },
    /// The store is retained: its data is kept and not served.
    #[error("store {0} is retained, not served")]
    Retained(StoreName),
    /// The store is being removed.
    #[error("store {0} is being removed")]
    Removing(StoreName),
    /// No store of this name is known, and no majority of the system group confirmed the catalogue.
    #[error("the catalogue could not be confirmed by a majority of the system group: {0}")]
    Unconfirmed(&'static str),
    /// This node is not a member yet, or fenced.
    #[error("this node is not serving: {0}")]
    NotServing(String),
}

/// A node as the gateway sees it.
///
/// The gateway holds one `Node` for its whole life and calls it for every request. Answers come from the applied
/// catalogue, which may be older than the leader's; only [`resolve`](Self::resolve) confirms a miss. A route is a hint:
/// the replica that it names may have stopped or lost leadership when the gateway calls it.
#[async_trait::async_trait]
pub trait Node: Send + Sync + 'static {
    /// Finds a store. A miss is confirmed by a read index on the system group before the call fails; concurrent misses
    /// share one read index, and their rate is limited.
    async fn resolve(&self, name: &StoreName, deadline: Instant) -> Result<StoreRef, ResolveError>;
    /// Nodes to which an append can be sent.
    fn route_write(&self, store: &StoreRef) -> Route;
    /// Nodes from which a read can be served.
    fn route_read(&self, store: &StoreRef) -> Route;
    /// A verified connection to a peer's port 2114, which serves forwarded calls of `taffrail.v1`; `None` without one.
    fn peer_channel(&self, node: NodeId) -> Option<tonic::transport::Channel>;
    /// All stores of the applied catalogue (retained and removing ones too), as the wire shows them.
    async fn stores(&self) -> Vec<taffrail_proto::v1::Store>;
    /// Active stores with this name in any namespace, ordered by name, as the applied catalogue has them.
    fn stores_with_name(&self, name: &str) -> Vec<StoreName>;
    /// One store, with the state of its replicas as this node knows it.
    async fn store(&self, name: &StoreName, deadline: Instant) -> Result<taffrail_proto::v1::Store, ResolveError>;
    /// Status of the cluster as this node knows it.
    fn cluster_status(&self) -> taffrail_proto::v1::ClusterStatus;
    /// A counter that rises whenever the cluster status may have changed.
    fn cluster_changes(&self) -> watch::Receiver<u64>;
    /// Id of this node; `None` before the node is a member.
    fn node_id(&self) -> Option<NodeId>;
    /// Id of the cluster; `None` before the node belongs to one.
    fn cluster_id(&self) -> Option<ClusterId>;
}

/// Required freshness of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The read sees every write that was acknowledged before it began.
    Linearizable,
    /// The read sees the state that the replica has applied, however old.
    Stale,
}
