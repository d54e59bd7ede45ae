//! The lifecycle of a node: a blank disk, a joining disk, a member of a cluster. Each state is a type with the data of
//! the state, so a step forbidden in a state does not compile.
//!
//! - `Blank`: the disk belongs to no cluster. `Bootstrap` makes this node the first member of a new cluster; `Join`
//!   names an existing cluster. A bootstrap that a crash interrupted is repeated from this state.
//! - `Joining`: the cluster is known. Any peer registers the disk and answers with the node id.
//! - `Serving`: the node id is known. The system replica runs at once, because replica ids make consensus safe.
//!   The store replicas start only after the system group has confirmed that the disk is still a member. Before
//!   the confirmation, the node is not ready. A disk removed by the cluster is retired, and the next start joins
//!   as a new node.
//! - `Reverted`: a peer has proven that the disk went back to an earlier state. No replica runs.

mod blank;
mod common;
mod joining;
mod member;
mod reverted;

use self::{blank::Blank, common::Common, joining::Joining, member::Serving, reverted::Reverted};
use super::{member::Member, peer_handler::PeerHandler, timed_machine::WrapMachine};
use crate::{
    config::Config,
    disk_space::DiskSpace,
    exit::Code,
    identity::{Bootstrap, DataDir, Error as IdentityError, PeerStarts},
};
use std::{sync::Arc, time::Duration};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use taffrail_proto::peer::Identity;
use taffrail_raft::{
    log::{LogDisk, rocksdb_log::OnFatal},
    peer::{PeerTransport, Peers},
};
use taffrail_storage::store::state_db::StateDb;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::readiness::{REVERTED_TEXT, Readiness};
use taffrail_runtime::{self as rt, TaskKind};

/// The node id of the first node of a cluster.
const FIRST: NodeId = NodeId::new(1);
/// Pause between two attempts to register; a random part of the same length is added.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Deadline of one registration or proposal.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A request of the admin service to the lifecycle, with a channel for the answer.
pub enum LifecycleRequest {
    /// Make a new cluster with this id. The answer is the node id of the first node.
    Bootstrap(ClusterId, oneshot::Sender<Result<NodeId, String>>),
    /// Join the cluster with this id.
    Join(ClusterId, oneshot::Sender<Result<(), String>>),
}

/// Handles of the process that the lifecycle uses: databases, transport, and the channels that publish
/// the node's state.
pub struct ProcessHandles {
    /// Configuration of the process.
    pub config: Arc<Config>,
    /// Peers whose identity was verified.
    pub peers: Arc<dyn Peers>,
    /// Sends frames to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Cluster and node id for the frames of the transport.
    pub own: watch::Sender<Option<(ClusterId, NodeId)>>,
    /// Identity for handshakes with peers.
    pub identity: watch::Sender<Option<Identity>>,
    /// The member, once the node is one.
    pub member: watch::Sender<Option<Arc<Member>>>,
    /// Readiness of the node, for probes and `Status`.
    pub readiness: Arc<watch::Sender<Readiness>>,
    /// Answers frames of peers.
    pub handler: Arc<PeerHandler>,
    /// Last known starts of the peers' disks.
    pub peer_starts: Arc<PeerStarts>,
    /// Wraps the state machine of each replica.
    pub wrap: WrapMachine,
    /// Room on the disk.
    pub space: Arc<DiskSpace>,
    /// Called when the state database can no longer be written.
    pub on_fatal: OnFatal,
    /// State database of all groups.
    pub db: Arc<StateDb>,
    /// Log database of all groups.
    pub log: Arc<dyn LogDisk>,
    /// Ends the lifecycle when cancelled.
    pub stop: CancellationToken,
    /// Identity of the disk, for `Status`.
    pub disk: watch::Sender<DiskStatus>,
}

/// Identity of the disk, as shown by the admin RPC `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStatus {
    /// The cluster of the disk, once known.
    pub cluster: Option<ClusterId>,
    /// Id of the disk.
    pub disk: Option<DiskId>,
    /// The node id, once allocated.
    pub node: Option<NodeId>,
    /// Nonce of this start of the process.
    pub incarnation: u64,
}

/// The reason why the process must end without a signal.
#[derive(Debug)]
pub struct End {
    /// Exit code of the process.
    pub code: Code,
    /// Text for the log and the termination message.
    pub why: String,
}

impl From<IdentityError> for End {
    fn from(e: IdentityError) -> Self {
        Self { code: Code::DataDir, why: e.to_string() }
    }
}

fn failed(e: impl std::fmt::Display) -> End {
    End { code: Code::Failed, why: e.to_string() }
}

/// The lifecycle of the node of this process: runs the states in order.
pub struct Lifecycle {
    stop: CancellationToken,
    reverted: watch::Receiver<bool>,
    peer_starts: Arc<PeerStarts>,
    state: State,
}

enum State {
    Blank(Blank),
    Joining(Joining),
    Serving(Serving),
    Reverted(Reverted),
}

impl Lifecycle {
    /// Reads the state from the data directory. No task runs before [`Lifecycle::run`].
    #[must_use]
    pub fn new(handles: ProcessHandles, dir: DataDir, requests: mpsc::Receiver<LifecycleRequest>) -> Self {
        let (stop, reverted) = (handles.stop.clone(), handles.handler.reverted());
        let peer_starts = Arc::clone(&handles.peer_starts);
        let evidence = peer_starts.against(dir.disk()).filter(|seen| !seen.is_continued_by(&dir.starts()));
        let (bootstrap, cluster, node) = (dir.bootstrap(), dir.cluster(), dir.node());
        let common = Common::new(handles, dir, requests);
        let state = match (bootstrap, cluster, node) {
            _ if evidence.is_some() => State::Reverted(Reverted::new(common)),
            (Bootstrap::Begun, Some(cluster), _) => State::Blank(Blank::interrupted(common, cluster)),
            (_, None, _) => State::Blank(Blank::new(common)),
            (_, Some(cluster), None) => State::Joining(Joining::new(common, cluster)),
            (_, Some(cluster), Some(node)) => State::Serving(Serving::new(common, cluster, node)),
        };
        Self { stop, reverted, peer_starts, state }
    }

    /// Takes the node from state to state until the stop signal of the handles.
    ///
    /// # Errors
    /// The [`End`] of the process, if the process must end for another reason than the stop signal.
    pub async fn run(self) -> Result<(), End> {
        let Self { stop, mut reverted, peer_starts, state } = self;
        rt::spawn_task("peer starts", TaskKind::Node(stop.clone()), peer_starts.write_behind(stop.clone()));
        let fenced = async { reverted.wait_for(|reverted| *reverted).await.is_ok() };
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            // The restart ends all replicas and begins in the state `Reverted`.
            true = fenced => Err(End { code: Code::Reverted, why: REVERTED_TEXT.into() }),
            end = live(state) => end,
        }
    }
}

async fn live(mut state: State) -> Result<(), End> {
    loop {
        state = match state {
            State::Blank(blank) => match blank.run().await? {
                blank::Next::Joining(joining) => State::Joining(joining),
                blank::Next::Serving(serving) => State::Serving(serving),
            },
            State::Joining(joining) => State::Serving(joining.run().await?),
            State::Serving(serving) => return serving.run().await,
            State::Reverted(reverted) => return Err(reverted.run().await),
        };
    }
}
