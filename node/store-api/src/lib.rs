//! What the gateway asks of the node beneath it. The gateway knows no Raft, no RocksDB and no Kubernetes; it reaches a
//! store through the handles named here.

use std::sync::Arc;
use taffrail_core::{
    append::{Append, Appended, Rejected},
    event::RecordedEvent,
    ids::{ClusterId, GroupId, NodeId, Position, ReplicaId, Revision, StoreId},
    names::{StoreName, StreamName},
};
use tokio::{sync::watch, time::Instant};

/// Who leads, and how to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader's node.
    pub node: NodeId,
    /// Its replica of the group.
    pub replica: ReplicaId,
}

/// Why an append has no positive answer.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Refused by the rules; the same on every replica.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// This replica does not lead. Not proposed.
    #[error("not the leader")]
    NotLeader(Option<LeaderHint>),
    /// The proposal queue is full. Not proposed.
    #[error("too many appends are waiting for this store")]
    Overloaded,
    /// The deadline passed before the batch was proposed.
    #[error("the deadline passed before the append was proposed")]
    DeadlineBeforeProposal,
    /// Proposed, and the answer did not come: it may still be stored.
    #[error("the outcome of the append is unknown: {0}")]
    Unknown(&'static str),
    /// This replica was stopped or fenced. Not proposed.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream has no events.
    #[error("stream {0} does not exist")]
    StreamNotFound(StreamName),
    /// No leader confirmed the read index in time.
    #[error("the read could not be confirmed by a majority: {0}")]
    NoReadIndex(&'static str),
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// This replica was stopped or fenced.
    #[error("this replica is not serving: {0}")]
    NotServing(String),
    /// Stored bytes do not decode or do not match their checksum. Never served, never read as absent.
    #[error("corrupt data: {0}")]
    Corrupt(String),
    /// The disk failed.
    #[error("storage: {0}")]
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

/// A bounded part of a read, in reading order, and where to go on.
#[derive(Clone, Debug, Default)]
pub struct Page<Next> {
    /// At most what was asked for, by count and bytes; one event may exceed the bytes.
    pub events: Vec<RecordedEvent>,
    /// Where the next page starts (inclusive, in reading direction); `None` at the end as of this read.
    pub next: Option<Next>,
}

/// One line of a stream listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Its name.
    pub stream: StreamName,
    /// Its last event's revision.
    pub last_revision: Revision,
}

/// How far a local replica has applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Log index.
    pub index: u64,
    /// Last position, 0 before the first event.
    pub position: Position,
    /// Rules in force for what is proposed next.
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

/// Synchronous reads of one replica's applied state, run on the bounded pool of blocking readers; cheap to clone.
/// Every call sees one consistent state.
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
    /// Where a stream ends; `None` if it has no event.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    fn stream_tail(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError>;
    /// (events, last position, digest, applied index).
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
    /// Log index it belongs to.
    pub applied_index: u64,
}

/// A replica of a store on this node.
#[async_trait::async_trait]
pub trait StoreReplica: Send + Sync + 'static {
    /// Proposes one append on the leader and waits for its outcome.
    async fn append(&self, append: Append, deadline: Instant) -> Result<Appended, AppendError>;
    /// Waits until this replica has applied everything that was acknowledged before the call (read index).
    async fn read_index(&self, deadline: Instant) -> Result<(), ReadError>;
    /// The reader of applied state.
    fn reader(&self) -> Arc<dyn StoreReader>;
    /// Changes whenever something was applied; closes when the replica stops.
    fn applied(&self) -> watch::Receiver<Applied>;
    /// Who leads, as far as this replica knows.
    fn leader(&self) -> Option<LeaderHint>;
    /// True while this replica leads.
    fn is_leader(&self) -> bool;
}

/// A store as the applied catalogue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRef {
    /// Its identity.
    pub id: StoreId,
    /// Its name.
    pub name: StoreName,
    /// Its Raft group.
    pub group: GroupId,
    /// Nodes that have a replica, lowest first.
    pub nodes: Vec<NodeId>,
    /// Who led when last heard of.
    pub leader: Option<NodeId>,
}

/// Where a call can be served.
#[derive(Clone)]
pub enum Route {
    /// Here.
    Local(Arc<dyn StoreReplica>),
    /// On these nodes, best first; their channels come from `Node::peer_channel`.
    Remote(Vec<NodeId>),
}

/// Why a store name has no store.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The catalogue, confirmed by a read index, has no such store.
    #[error("store {wanted} does not exist")]
    NotFound {
        /// What was asked for.
        wanted: StoreName,
        /// The nearest names, at most three.
        nearest: Vec<StoreName>,
    },
    /// The store exists but its data is only kept.
    #[error("store {0} is retained, not served")]
    Retained(StoreName),
    /// The store is being removed.
    #[error("store {0} is being removed")]
    Removing(StoreName),
    /// The miss could not be confirmed: no system quorum.
    #[error("the catalogue could not be confirmed: {0}")]
    Unconfirmed(&'static str),
    /// This node is not a member yet, or fenced.
    #[error("this node is not serving: {0}")]
    NotServing(String),
}

/// The node as the gateway sees it.
#[async_trait::async_trait]
pub trait Node: Send + Sync + 'static {
    /// Finds a store; a miss is confirmed by a read index on the system group first (coalesced, rate-limited).
    async fn resolve(&self, name: &StoreName, deadline: Instant) -> Result<StoreRef, ResolveError>;
    /// Where to write.
    fn route_write(&self, store: &StoreRef) -> Route;
    /// Where to read.
    fn route_read(&self, store: &StoreRef) -> Route;
    /// A proven connection to a peer (its port 2114, which serves `taffrail.v1` to calls passed on).
    fn peer_channel(&self, node: NodeId) -> Option<tonic::transport::Channel>;
    /// All stores of the applied catalogue (retained and removing ones too), as the wire shows them.
    async fn stores(&self) -> Vec<taffrail_proto::v1::Store>;
    /// The stores of this name in any namespace that serve or are about to, as the applied catalogue has them, by name.
    fn stores_with_name(&self, name: &str) -> Vec<StoreName>;
    /// One store with what this node knows of it.
    async fn store(&self, name: &StoreName, deadline: Instant) -> Result<taffrail_proto::v1::Store, ResolveError>;
    /// Cluster status.
    fn cluster_status(&self) -> taffrail_proto::v1::ClusterStatus;
    /// Changes whenever the cluster status may have changed.
    fn cluster_changes(&self) -> watch::Receiver<u64>;
    /// This node.
    fn node_id(&self) -> Option<NodeId>;
    /// Its cluster.
    fn cluster_id(&self) -> Option<ClusterId>;
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Everything acknowledged before the read began.
    Linearizable,
    /// Whatever the replica has applied.
    Stale,
}
