//! [`Group`]: a running replica of a Raft group.
//!
//! More methods of [`Group`] are in `read_index`, `membership_change` and `peer_rpc`.

use super::{
    catch_up_limits::CatchUpLimits,
    digests::Digests,
    full_replicas::FullReplicas,
    install_requests::InstallRequests,
    log::{LogDisk, LogKey, log_storage::LogStorage, rocksdb_log::OnFatal},
    machine::Machine,
    metrics_follower::{ENDED, MetricsWatch, follow},
    network::Network,
    shared_machine::SharedMachine,
    snapshot_fetch::{CatchUpFrom, ReplicaContext},
    start_check::{self, StartError},
    state_machine::{Raft, StateMachine},
    status::{ProposeError, Status},
    tuning::{Tuning, config},
    types::{Command, Host, LogId, Reply, TypeConfig},
};
use crate::peer::{PeerTransport, pieces::REQUEST_BYTES_MAX};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use openraft::{
    ServerState,
    async_runtime::{Instant as _, WatchReceiver},
    error::{ClientWriteError, Fatal, RaftError},
    raft::WriteResult,
};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use taffrail_core::ids::{ClusterId, Digest, GroupId, NodeId, ReplicaId};
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_store_api::{Applied, LeaderHint};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Largest command of an entry, bytes: an append request with this entry alone fits the largest request between nodes.
pub const COMMAND_BYTES_MAX: usize = REQUEST_BYTES_MAX - (64 << 10);
/// Smallest number of entries that a purge by number removes, so that small logs are not written for every entry.
const PURGE_ENTRIES_MIN: u64 = 256;

/// A running replica of a group; shared through [`Arc`].
///
/// The node starts a [`Group`] for each replica that the catalogue assigns to the node, and stops the [`Group`] before
/// the replica's data is deleted.
///
/// ```
/// use bytes::Bytes;
/// use std::time::Duration;
/// use taffrail_raft::{group::Group, status::ProposeError};
/// use tokio::time::Instant;
///
/// /// Proposes a command on the leader; the reply comes once the command is applied on this replica.
/// async fn write(group: &Group, command: Bytes) -> Result<String, ProposeError> {
///     let reply = group.propose(command, Instant::now() + Duration::from_secs(5)).await?;
///     Ok(reply.to_string())
/// }
/// ```
pub struct Group {
    pub(super) key: LogKey,
    node: NodeId,
    pub(super) raft: Raft,
    log: LogStorage,
    machine: SharedMachine,
    pub(super) transport: Arc<dyn PeerTransport>,
    progress: watch::Receiver<Applied>,
    digests: Digests,
    pub(super) stop: CancellationToken,
    /// True once openraft's task or another task of the replica has ended; the last metrics are then no longer valid.
    ended: Arc<AtomicBool>,
    pub(super) source: watch::Sender<Option<CatchUpFrom>>,
    pub(super) install_requests: InstallRequests,
    pub(super) tuning: Tuning,
    full: FullReplicas,
    last_purge: Mutex<PurgeMark>,
}

/// A command that consensus has taken over; the outcome is open. Made by
/// [`Group::hand_in`], resolved by [`Group::outcome`].
pub struct Proposal(BoxStream<'static, Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>>);

/// End and size of the log when applied state was last flushed for a purge.
#[derive(Clone, Copy, Debug, Default)]
struct PurgeMark {
    /// Index after the last entry.
    end: u64,
    /// Encoded size of all entries so far, purged ones included, in bytes.
    grown_bytes: u64,
}

/// Services and settings of a node, shared by all replicas of the node.
#[derive(Clone)]
pub struct Home {
    /// Id of the node's cluster.
    pub cluster: ClusterId,
    /// Id of the node.
    pub node: NodeId,
    /// Stable storage for the log of all groups.
    pub disk: Arc<dyn LogDisk>,
    /// Carries requests to other nodes.
    pub transport: Arc<dyn PeerTransport>,
    /// Times and bounds of consensus.
    pub tuning: Tuning,
    /// Bounds on the transfers of state.
    pub catch_ups: Arc<CatchUpLimits>,
    /// Called when the state database can no longer be written.
    pub on_fatal: OnFatal,
}

impl Group {
    /// Opens the log of a replica and starts the replica.
    ///
    /// # Errors
    /// [`StartError::MustRefill`] when the log cannot continue the state: the caller fetches the state of another
    /// replica with [`refill`](crate::refill::refill) first. [`StartError::Failed`] when the disk fails or the log
    /// does not decode.
    pub async fn start(home: &Home, key: LogKey, machine: Box<dyn Machine>) -> Result<Arc<Self>, StartError> {
        let mut log = LogStorage::open(Arc::clone(&home.disk), key).await?;
        start_check::can_start(&*machine, &log)?;
        let applied = machine.applied();
        start_check::cut_conflicts(&mut log, applied.0).await?;
        let (progress_tx, progress) = watch::channel(machine.progress());
        let digests = Digests::new(machine.progress().index, machine.digest(), machine.copied_from());
        let (source, source_rx) = watch::channel(None);
        let stop = CancellationToken::new();
        let machine = SharedMachine::new(machine, Arc::clone(&home.on_fatal));
        let context = ReplicaContext {
            key,
            cluster: home.cluster,
            node: home.node,
            transport: Arc::clone(&home.transport),
            stop: stop.clone(),
            limits: Arc::clone(&home.catch_ups),
            source: source_rx,
        };
        let state = StateMachine::new(machine.clone(), applied, context, Arc::new(progress_tx), digests.clone());
        let full = FullReplicas::default();
        let network = Network {
            full: full.clone(),
            transport: Arc::clone(&home.transport),
            group: key.group,
            from: key.replica,
            // A follower that is silent for longer than an election timeout gets the entries again.
            append_base: home.tuning.election_max,
        };
        let config = config(&home.tuning, key)?;
        let raft = match Raft::new(key.replica.get(), config, network, log.clone(), state).await {
            Ok(raft) => raft,
            Err(e) => {
                drop(machine.close().await);
                return Err(io::Error::other(e.to_string()).into());
            }
        };
        log.started();
        let ended = Arc::new(AtomicBool::new(false));
        let followed = Arc::clone(&ended);
        let kind = TaskKind::Replica(Box::new(move |_| followed.store(true, Ordering::Relaxed)));
        let follow = follow(MetricsWatch(raft.metrics()), source.clone(), key, stop.clone(), Arc::clone(&ended));
        rt::spawn_task("metrics of consensus", kind, follow);
        Ok(Arc::new(Self {
            key,
            node: home.node,
            raft,
            log,
            machine,
            transport: Arc::clone(&home.transport),
            progress,
            digests,
            stop,
            ended,
            source,
            install_requests: InstallRequests::default(),
            tuning: home.tuning.clone(),
            full,
            last_purge: Mutex::default(),
        }))
    }

    /// Returns the group and the replica id.
    #[must_use]
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// Returns a receiver of the applied state's progress. The channel closes when the state machine ends.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Applied> {
        self.progress.clone()
    }

    /// Returns a token that is cancelled when the replica is stopped.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Proposes a command and waits until this replica has applied the command.
    ///
    /// # Errors
    /// [`ProposeError::Unknown`] when the command may have been proposed. With every other error the command
    /// was not proposed.
    pub async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Reply, ProposeError> {
        match tokio::time::timeout_at(deadline, self.propose_and_wait(command)).await {
            Err(_) => Err(ProposeError::Unknown("the deadline passed after the proposal")),
            Ok(reply) => reply,
        }
    }

    /// Proposes a command like [`propose`](Self::propose), and waits as long as the outcome is open. The wait is bounded
    /// only by the leadership and the life of this replica.
    ///
    /// # Errors
    /// The same errors as [`propose`](Self::propose), and [`ProposeError::Refused`] for a
    /// command above [`COMMAND_BYTES_MAX`].
    pub async fn propose_and_wait(&self, command: Bytes) -> Result<Reply, ProposeError> {
        let proposal = self.hand_in(command).await?;
        self.outcome(proposal).await
    }

    /// Hands a command over to consensus, and returns before the command is in the log. Commands enter the log in the
    /// order in which a single task hands them in. The call waits only while the queue of consensus is full.
    ///
    /// # Errors
    /// [`ProposeError::Unknown`] when the replica stops during the call, and [`ProposeError::Refused`]
    /// for a command above [`COMMAND_BYTES_MAX`].
    pub async fn hand_in(&self, command: Bytes) -> Result<Proposal, ProposeError> {
        if command.len() > COMMAND_BYTES_MAX {
            let bytes = command.len();
            return Err(ProposeError::Refused(format!(
                "the command has {bytes} bytes, at most {COMMAND_BYTES_MAX} fit an entry"
            )));
        }
        let answers = self.raft.client_write_many([Command(command)]).await;
        answers.map(Proposal).map_err(|e| self.propose_error(RaftError::Fatal(e)))
    }

    /// Waits until this replica has applied the command of `proposal`, as long as the outcome is open.
    ///
    /// # Errors
    /// The same errors as [`propose`](Self::propose).
    pub async fn outcome(&self, mut proposal: Proposal) -> Result<Reply, ProposeError> {
        match proposal.0.next().await {
            Some(Ok(Ok(written))) => Ok(written.response),
            Some(Ok(Err(e))) => Err(self.propose_error(RaftError::APIError(e))),
            Some(Err(e)) => Err(self.propose_error(RaftError::Fatal(e))),
            // The stream holds an answer for the command, so the stream never ends here.
            None => Err(self.propose_error(RaftError::Fatal(Fatal::Stopped))),
        }
    }

    pub(super) fn propose_error(&self, e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match e {
            RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => {
                ProposeError::NotLeader(f.leader_id.zip(f.leader_node).and_then(|(id, host)| self.hint(id, host)))
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::Unknown("the leader changed after the proposal")
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => ProposeError::Refused(e.to_string()),
            RaftError::APIError(ClientWriteError::PreconditionFailed(e)) => ProposeError::Refused(e.to_string()),
            // The replica stopped during the write: the entry may be in the log.
            RaftError::Fatal(_) => ProposeError::Unknown("the replica stopped after the proposal"),
        }
    }

    fn hint(&self, replica: u64, host: Host) -> Option<LeaderHint> {
        let term = || self.raft.metrics().borrow_watched().current_term;
        let hint = || LeaderHint { node: host.0, replica: ReplicaId::new(replica), term: term() };
        (replica != self.key.replica.get()).then(hint)
    }

    /// Returns the leader that this replica knows, which may be this replica.
    #[must_use]
    pub fn leader(&self) -> Option<LeaderHint> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader?;
        let host = metrics.membership_config.membership().get_node(&id)?;
        Some(LeaderHint { node: host.0, replica: ReplicaId::new(id), term: metrics.current_term })
    }

    /// Returns true while this replica leads its group.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raft.is_leader() && !self.ended.load(Ordering::Relaxed)
    }

    /// Returns true for a leader that no majority of the voters has answered for two election timeouts. The other voters may
    /// have elected another leader, and no entry is committed before a majority answers. Consensus itself keeps such a leader.
    #[must_use]
    pub fn has_lost_quorum(&self) -> bool {
        let metrics = self.raft.metrics();
        let m = metrics.borrow_watched();
        let alone = m.membership_config.voter_ids().nth(1).is_none();
        let acked_ago = m.last_quorum_acked.map(|at| (*at).elapsed());
        m.state == ServerState::Leader && !alone && acked_ago.is_some_and(|ago| ago > self.quorum_timeout())
    }

    /// Returns the time without an answer of a majority after which a leader counts as a leader without a quorum.
    #[must_use]
    pub fn quorum_timeout(&self) -> Duration {
        self.tuning.election_max * 2
    }

    /// Returns true while a majority of the voters takes entries, as far as this leader knows. The other voters refuse
    /// entries because their disks are nearly full.
    #[must_use]
    pub fn voters_have_room(&self) -> bool {
        self.full.is_empty() || {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            self.full.leave_a_majority(metrics.membership_config.membership().get_joint_config())
        }
    }

    /// Returns the state of this replica as reported by openraft and the state machine.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let m = metrics.borrow_watched().clone();
        let (applied, digest) = self.digests.last();
        let ended = self.ended.load(Ordering::Relaxed);
        let index = |id: &Option<LogId>| id.map_or(0, |id| id.index);
        Status {
            leads: m.state == ServerState::Leader && !ended,
            leader: self.leader(),
            term: m.current_term,
            log_end: m.last_log_index.map_or(0, |i| i + 1),
            committed: index(&m.local_committed),
            applied,
            digest,
            marks: self.digests.marks(),
            copied_from: self.digests.copied_from(),
            membership: (*m.membership_config).clone(),
            matched: m.replication.iter().flatten().map(|(id, matched)| (*id, index(matched))).collect(),
            quorum_acked_ago: m.last_quorum_acked.map(|at| (*at).elapsed()),
            stopped: m.running_state.err().map(|e| e.to_string()).or_else(|| ended.then(|| ENDED.to_owned())),
        }
    }

    /// Returns the digest after applying the entries up to `index`, or `None` when the replica keeps no digest
    /// of that index.
    #[must_use]
    pub fn digest_at(&self, index: u64) -> Option<Digest> {
        self.digests.at(index)
    }

    /// Waits until openraft's metrics of this replica change. Returns false when the replica has stopped.
    pub async fn changed(&self, metrics: &mut MetricsWatch) -> bool {
        metrics.0.changed().await.is_ok()
    }

    /// Returns a receiver of metrics for [`changed`](Self::changed).
    #[must_use]
    pub fn watch(&self) -> MetricsWatch {
        MetricsWatch(self.raft.metrics())
    }

    /// Flushes applied state once `purge_after_entries` more entries or `purge_after_bytes` more bytes are in the log. Purges
    /// flushed entries beyond `keep_entries` or `keep_bytes`.
    ///
    /// The node calls this function periodically. Each call only starts its next step, so the log shrinks a few calls
    /// after the flush was due.
    pub async fn purge_if_due(&self) {
        if self.flush_is_due()
            && let Err(e) = self.raft.trigger().snapshot().await
        {
            tracing::debug!(group = %self.key.group, error = %e, "the flush before the purge of the log did not start");
        }
        if let Some(upto) = self.purgeable()
            && let Err(e) = self.raft.trigger().purge_log(upto).await
        {
            tracing::debug!(group = %self.key.group, error = %e, "the purge of the log did not start");
        }
    }

    fn flush_is_due(&self) -> bool {
        let ((first, end), grown_bytes) = (self.log.bounds(), self.log.bytes().grown);
        let mut last = self.last_purge.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = end.saturating_sub(last.end.max(first));
        let bytes = grown_bytes.saturating_sub(last.grown_bytes);
        if entries < self.tuning.purge_after_entries && bytes < self.tuning.purge_after_bytes {
            return false;
        }
        *last = PurgeMark { end, grown_bytes };
        true
    }

    /// Returns the last flushed entry beyond `keep_entries` or `keep_bytes`, or `None` when all entries are kept.
    ///
    /// openraft's own policy is off ([`config`]), because the policy knows no bytes and asserts that no
    /// later purge was ordered: a leader purges an entry only once no follower reads the entry, and the next
    /// flush may come before.
    fn purgeable(&self) -> Option<u64> {
        let flushed = self.raft.metrics().borrow_watched().snapshot.map(|id| id.index)?;
        let (first, _) = self.log.bounds();
        // In batches, unless only few entries are kept.
        let batch = self.tuning.keep_entries.clamp(1, PURGE_ENTRIES_MIN);
        let by_entries = flushed.checked_sub(self.tuning.keep_entries).filter(|upto| upto + 1 >= first + batch);
        let by_bytes = self.log.purge_bound(self.tuning.keep_bytes).map(|upto| upto.min(flushed));
        by_entries.max(by_bytes.filter(|upto| *upto >= first))
    }

    /// Makes all applied entries survive a crash.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn flush(&self) -> io::Result<()> {
        self.machine.flush().await
    }

    /// Stops the replica and keeps its data. After the return, no task of the replica writes to the log or to the state
    /// database. A caller may drop the future and call again.
    pub async fn stop(&self) {
        self.stop.cancel();
        if self.raft.shutdown().await.is_err() {
            tracing::warn!(group = %self.key.group, "the consensus task had ended before the replica was stopped");
        }
        // openraft's shutdown waits for the consensus task only. The task of the state machine still applies the queued
        // entries, and so it does after a panic of the consensus task.
        drop(self.machine.close().await);
    }

    /// Reports the replica as stopped, after the failure of a task without which the replica cannot serve. The node then
    /// stops the replica and starts it again.
    pub fn report_stopped(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Returns the node of the replica.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the id of the group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.key.group
    }
}

#[cfg(test)]
mod tests;
