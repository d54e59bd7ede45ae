//! One running replica of a group.

use super::{
    digests::Digests,
    log::{LogDisk, LogKey, log_storage::LogStorage, rocksdb_log::OnFatal},
    machine::Machine,
    membership::Change,
    metrics_follower::{ENDED, follow},
    network::{CatchUpFrom, Network},
    peer_rpc::CatchUp,
    state_machine::{Place, Shared, StateMachine},
    status::{ProposeError, ReadIndexError, Status},
    tuning::{Tuning, config},
    types::{Command, Host, LogId, Reply, TypeConfig},
};
use crate::peer::{CallError, PeerTransport, Request};
use bytes::Bytes;
use openraft::{
    ChangeMembers, ReadPolicy, ServerState,
    async_runtime::{Instant as _, WatchReceiver},
    error::{ClientWriteError, LinearizableReadError, RaftError},
    raft::Precondition,
};
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use taffrail_core::{
    ids::{ClusterId, Digest, GroupId, NodeId, ReplicaId},
    plan::{Candidate, best_candidate, can_take_over},
};
use taffrail_proto::{
    peer::{FrameKind, RefusalKind},
    storage as pb,
};
use taffrail_runtime as rt;
use taffrail_runtime::failpoint;
use taffrail_store_api::{Applied, LeaderHint};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// See the module. Cheap to share through `Arc`.
pub struct Group {
    pub(super) key: LogKey,
    node: NodeId,
    pub(super) raft: Raft,
    log: LogStorage,
    machine: Shared,
    transport: Arc<dyn PeerTransport>,
    progress: watch::Receiver<Applied>,
    digests: Digests,
    stop: CancellationToken,
    /// openraft's task is gone; what its metrics said last is no longer true.
    ended: Arc<AtomicBool>,
    pub(super) source: watch::Sender<Option<CatchUpFrom>>,
    pub(super) catch_up: Mutex<Option<CatchUp>>,
    tuning: Tuning,
    last_purge_look: Mutex<u64>,
}

/// Where a replica runs.
#[derive(Clone)]
pub struct Home {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The log of all groups.
    pub disk: Arc<dyn LogDisk>,
    /// The way to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Times and bounds.
    pub tuning: Tuning,
    /// What to do when the state can no longer be written.
    pub on_fatal: OnFatal,
}

impl Group {
    /// Opens the replica's log and starts it.
    ///
    /// # Errors
    /// When log and state do not fit together or the disk fails.
    pub async fn start(home: &Home, key: LogKey, machine: Box<dyn Machine>) -> io::Result<Arc<Self>> {
        let log = LogStorage::open(Arc::clone(&home.disk), key).await?;
        let (progress_tx, progress) = watch::channel(machine.progress());
        let digests = Digests::new(machine.progress().index, machine.digest());
        let (source, source_rx) = watch::channel(None);
        let stop = CancellationToken::new();
        let machine = Shared::new(machine, Arc::clone(&home.on_fatal));
        let place = Place {
            key,
            cluster: home.cluster,
            node: home.node,
            transport: Arc::clone(&home.transport),
            stop: stop.clone(),
            source: source_rx,
        };
        let state = StateMachine::new(machine.clone(), place, Arc::new(progress_tx), digests.clone());
        let network = Network { transport: Arc::clone(&home.transport), group: key.group, from: key.replica };
        let raft = Raft::new(key.replica.get(), config(&home.tuning, key)?, network, log.clone(), state)
            .await
            .map_err(|e| io::Error::other(e.to_string()))?;
        let ended = Arc::new(AtomicBool::new(false));
        rt::spawn(follow(MetricsWatch(raft.metrics()), source.clone(), key, stop.clone(), Arc::clone(&ended)));
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
            catch_up: Mutex::new(None),
            tuning: home.tuning.clone(),
            last_purge_look: Mutex::new(0),
        }))
    }

    /// Group and replica.
    #[must_use]
    pub fn key(&self) -> LogKey {
        self.key
    }

    /// Changes whenever something was applied.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Applied> {
        self.progress.clone()
    }

    /// Cancelled when the replica is told to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Makes the first membership of the group. Does nothing when the log is not empty.
    ///
    /// # Errors
    /// When openraft refuses.
    pub async fn initialize(&self, members: &BTreeMap<ReplicaId, NodeId>) -> io::Result<()> {
        if self.raft.is_initialized().await.map_err(|e| io::Error::other(e.to_string()))? {
            return Ok(());
        }
        let members: BTreeMap<u64, Host> = members.iter().map(|(r, n)| (r.get(), Host(*n))).collect();
        failpoint::reach("membership-first-write");
        let first = self.raft.initialize(members).await;
        failpoint::reach("membership-first-written");
        match first {
            Ok(()) | Err(RaftError::APIError(openraft::error::InitializeError::NotAllowed(_))) => Ok(()),
            Err(e) => Err(io::Error::other(e.to_string())),
        }
    }

    /// Proposes a command and waits until it is applied here.
    ///
    /// # Errors
    /// Says whether the command may have been proposed.
    pub async fn propose(&self, command: Bytes, deadline: Instant) -> Result<Reply, ProposeError> {
        match tokio::time::timeout_at(deadline, self.raft.client_write(Command(command))).await {
            Err(_) => Err(ProposeError::Unknown("the deadline passed after the proposal")),
            Ok(Ok(answer)) => Ok(answer.data),
            Ok(Err(e)) => Err(self.propose_error(e)),
        }
    }

    fn propose_error(&self, e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match e {
            RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => {
                ProposeError::NotLeader(f.leader_id.zip(f.leader_node).and_then(|(id, host)| self.hint(id, host)))
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::Unknown("the leader changed after the proposal")
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => ProposeError::Refused(e.to_string()),
            RaftError::APIError(ClientWriteError::PreconditionFailed(e)) => ProposeError::Refused(e.to_string()),
            // Stopped in the middle: the entry may be in the log.
            RaftError::Fatal(_) => ProposeError::Unknown("the replica stopped after the proposal"),
        }
    }

    fn hint(&self, replica: u64, host: Host) -> Option<LeaderHint> {
        (replica != self.key.replica.get()).then(|| LeaderHint { node: host.0, replica: ReplicaId::new(replica) })
    }

    /// Who leads, as this replica knows; itself included.
    #[must_use]
    pub fn leader(&self) -> Option<LeaderHint> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let id = metrics.current_leader?;
        let host = metrics.membership_config.membership().get_node(&id)?;
        Some(LeaderHint { node: host.0, replica: ReplicaId::new(id) })
    }

    /// True while this replica leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.raft.is_leader() && !self.ended.load(Ordering::Relaxed)
    }

    /// Everything acknowledged before this call is at or below the returned index. Answered by the leader only.
    ///
    /// # Errors
    /// When this replica does not lead or no majority answers.
    pub async fn lead_read_index(&self) -> Result<LogId, ReadIndexError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(*read.log_id()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Err(ReadIndexError::NoLeader),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadIndexError::NoQuorum),
            Err(RaftError::Fatal(e)) => Err(ReadIndexError::Stopped(e.to_string())),
        }
    }

    /// Waits until this replica has applied everything that was acknowledged before the call. Without a leader it waits
    /// for one until the deadline.
    ///
    /// # Errors
    /// When no majority confirmed it in time.
    pub async fn read_index(&self, deadline: Instant) -> Result<(), ReadIndexError> {
        let mut last = ReadIndexError::Deadline;
        while Instant::now() < deadline {
            match tokio::time::timeout_at(deadline, self.try_read_index(deadline)).await {
                Ok(Ok(index)) => return self.wait_applied(index, deadline).await,
                Ok(Err(ReadIndexError::Stopped(why))) => return Err(ReadIndexError::Stopped(why)),
                Ok(Err(e)) => last = e,
                Err(_) => return Err(last),
            }
            let pause = self.tuning.heartbeat / 4 + rt::jitter(self.tuning.heartbeat / 4);
            tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        }
        Err(last)
    }

    async fn try_read_index(&self, deadline: Instant) -> Result<u64, ReadIndexError> {
        let Some(leader) = self.leader() else { return Err(ReadIndexError::NoLeader) };
        if leader.replica == self.key.replica {
            return Ok(self.lead_read_index().await?.index);
        }
        let request = Request {
            kind: FrameKind::ReadIndex,
            group: self.key.group,
            from_replica: self.key.replica,
            to_replica: leader.replica,
            payload: Bytes::new(),
        };
        let ttl = deadline.saturating_duration_since(Instant::now()).min(self.tuning.election_max);
        match self.transport.call(leader.node, request, ttl).await {
            Ok(answer) => {
                let answer = pb::ReadIndexResponse::decode(answer).map_err(|_| ReadIndexError::NoQuorum)?;
                answer.read.map(|id| id.index).ok_or(ReadIndexError::NoQuorum)
            }
            Err(CallError::Refused(r)) if r.kind() == RefusalKind::Unavailable => Err(ReadIndexError::NoQuorum),
            Err(_) => Err(ReadIndexError::NoLeader),
        }
    }

    async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ReadIndexError> {
        let mut progress = self.progress();
        match tokio::time::timeout_at(deadline, progress.wait_for(|p| p.index >= index)).await {
            // A replica that is being removed keeps its last progress while its rows go: it must not answer as if empty.
            Ok(Ok(_)) if self.stop.is_cancelled() => Err(ReadIndexError::Stopped("it was told to stop".into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadIndexError::Stopped("its state machine ended".into())),
            Err(_) => Err(ReadIndexError::Deadline),
        }
    }

    /// Changes voters and learners in one go (through a joint configuration where voters change). `expected` is the
    /// membership that the caller saw; any other one refuses.
    ///
    /// # Errors
    /// `Refused` when the membership is another one or a change is in flight.
    pub async fn change_membership(
        &self,
        expected: Option<LogId>,
        voters: &BTreeSet<ReplicaId>,
        learners: &BTreeMap<ReplicaId, NodeId>,
        deadline: Instant,
    ) -> Result<(), ProposeError> {
        // Only learners are removed by name. A voter that leaves must stay in the node map while the joint configuration
        // still names it; openraft drops it with the uniform configuration that follows.
        let membership = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().clone()
        };
        let now: BTreeSet<u64> = membership.learner_ids().collect();
        let voters: BTreeSet<u64> = voters.iter().map(|r| r.get()).collect();
        let add: BTreeMap<u64, Host> = learners.iter().map(|(r, n)| (r.get(), Host(*n))).collect();
        let gone: BTreeSet<u64> =
            now.iter().copied().filter(|id| !voters.contains(id) && !add.contains_key(id)).collect();
        let sort = Change::to(&membership, &voters, &add);
        let mut steps = Vec::new();
        if !add.is_empty() {
            steps.push(ChangeMembers::AddNodes(add));
        }
        steps.push(ChangeMembers::ReplaceAllVoters(voters));
        if !gone.is_empty() {
            steps.push(ChangeMembers::RemoveNodes(gone));
        }
        let precondition = Precondition::LastMembershipLogId { last_membership_log_id: expected };
        failpoint::reach(format_args!("membership-{sort}-write"));
        let change = self.raft.change_membership_if(ChangeMembers::Batch(steps), false, [precondition]);
        match tokio::time::timeout_at(deadline, change).await {
            Err(_) => Err(ProposeError::Unknown("the deadline passed during the membership change")),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(self.propose_error(e)),
        }
    }

    /// Hands leadership to another voter. The caller has checked that it is a voter, caught up, and not this replica:
    /// openraft takes any id and then refuses writes.
    ///
    /// # Errors
    /// When the replica has stopped.
    pub async fn transfer_leader(&self, to: ReplicaId) -> io::Result<()> {
        self.raft.trigger().transfer_leader(to.get()).await.map_err(|e| io::Error::other(e.to_string()))
    }

    /// Hands leadership to the best caught-up other voter, if there is one.
    pub async fn hand_over(&self) -> bool {
        let status = self.status();
        if !status.leads {
            return false;
        }
        let voters: BTreeSet<u64> = status.membership.voter_ids().collect();
        let replicas = status.matched.iter().map(|(id, matched)| Candidate {
            replica: ReplicaId::new(*id),
            voter: voters.contains(id),
            matched: *matched,
        });
        let leader = self.key.replica;
        let best = best_candidate(leader, replicas).filter(|c| can_take_over(leader, *c, status.committed));
        let Some(to) = best else { return false };
        self.transfer_leader(to.replica).await.is_ok()
    }

    /// How this replica is.
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
            membership: (*m.membership_config).clone(),
            matched: m.replication.iter().flatten().map(|(id, matched)| (*id, index(matched))).collect(),
            quorum_acked_ago: m.last_quorum_acked.map(|at| (*at).elapsed()),
            stopped: m.running_state.err().map(|e| e.to_string()).or_else(|| ended.then(|| ENDED.to_owned())),
        }
    }

    /// The digest after applying up to `index`; none if this replica was not there, or not lately.
    #[must_use]
    pub fn digest_at(&self, index: u64) -> Option<Digest> {
        self.digests.at(index)
    }

    /// Waits until openraft's view of this replica changes; false when it has stopped.
    pub async fn changed(&self, metrics: &mut MetricsWatch) -> bool {
        metrics.0.changed().await.is_ok()
    }

    /// A place to wait for changes.
    #[must_use]
    pub fn watch(&self) -> MetricsWatch {
        MetricsWatch(self.raft.metrics())
    }

    /// Flushes applied state and lets openraft purge the log below it, once enough has come together.
    pub async fn purge_if_due(&self) {
        let (first, end) = self.log.bounds();
        {
            let mut last = self.last_purge_look.lock().unwrap_or_else(PoisonError::into_inner);
            let since = end.saturating_sub((*last).max(first));
            if since < self.tuning.purge_after_entries {
                return;
            }
            *last = end;
        }
        if let Err(e) = self.raft.trigger().snapshot().await {
            tracing::debug!(group = %self.key.group, error = %e, "purge not started");
        }
    }

    /// Flushes applied state.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn flush(&self) -> io::Result<()> {
        self.machine.with(|m| m.flush()).await
    }

    /// Stops the replica; its data stays.
    pub async fn stop(&self) {
        self.stop.cancel();
        if self.raft.shutdown().await.is_err() {
            tracing::warn!(group = %self.key.group, "the replica's task had ended before it was stopped");
        }
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The group's number.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.key.group
    }
}

/// A place to wait for changes of a replica.
pub struct MetricsWatch(pub(super) openraft::alias::WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>);
