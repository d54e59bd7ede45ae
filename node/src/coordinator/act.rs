//! Execution of plans: fences and changes of groups, one for each group at a time, and proposals to the catalogue in
//! order. No pass waits for an action, so a slow node delays neither observations nor decisions about other groups.

use super::reports::Reports;
use crate::member::{fence, free_replica, member::Member, operations};
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_core::{
    catalogue::{CatalogueOutcome, Kind},
    ids::{GroupId, NodeId, ReplicaId},
    plan::{Action, Candidate, Fence, LogPoint, best_candidate},
    stream::{self, RULES},
};
use taffrail_proto::{
    peer::{Divergence, Fence as FenceAsk, FrameKind, HandOver, fence::Why},
    storage as pb,
};
use taffrail_raft::{
    log::LogKey,
    peer::{CallError, Request},
};
use taffrail_runtime::{self as rt, TaskKind, failpoint};
use taffrail_storage::store::codec::encode_command;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Time limit for a proposal to the catalogue.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for the answer of a leader to a membership change or a leadership transfer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for a fence. A node completes a fence after the limit too, and a later pass observes the result.
const FENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for the removal of the data of a fenced replica. A node completes a removal after the limit too.
const FREE_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum number of fences, membership changes and leadership transfers carried out at the same time.
const PARALLEL_MAX: usize = 16;
/// Maximum number of these for a single node, so that a node that does not answer cannot delay the other nodes.
const PARALLEL_NODE_MAX: usize = 4;
/// Maximum number of groups with an action in progress or in the queue. Further groups wait for a later pass.
const GROUPS_MAX: usize = 1_024;
/// Longest time in the queue. A later pass plans an older action again, from a newer observation.
const QUEUE_MAX: Duration = Duration::from_secs(10);

/// The actions in progress and in the queue, owned by the coordinator's task, which must call [`Actions::end`] before
/// the task ends.
pub struct Actions {
    subjects: Arc<Mutex<Subjects>>,
    /// Last group that was started. The next pass begins behind this group, so that every group gets its turn.
    last: GroupId,
    slots: Arc<Semaphore>,
    node_slots: BTreeMap<NodeId, Arc<Semaphore>>,
    tasks: Vec<JoinHandle<()>>,
    /// Notified at the end of each action.
    ended: Arc<Notify>,
    stop: CancellationToken,
}

/// Subjects with an action in progress or in the queue; each has at most one.
#[derive(Default)]
struct Subjects {
    groups: BTreeSet<GroupId>,
    catalogue: bool,
}

/// Subject of an action: a group, or the catalogue for proposals.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Catalogue,
    Group(GroupId),
}

impl Subjects {
    /// Adds a subject; returns false if the subject has an action already, or if too many groups have one.
    fn take(&mut self, subject: Subject) -> bool {
        match subject {
            Subject::Catalogue => !std::mem::replace(&mut self.catalogue, true),
            Subject::Group(group) => self.groups.len() < GROUPS_MAX && self.groups.insert(group),
        }
    }

    fn give_back(&mut self, subject: Subject) {
        match subject {
            Subject::Catalogue => self.catalogue = false,
            Subject::Group(group) => drop(self.groups.remove(&group)),
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && !self.catalogue
    }
}

/// A taken subject, given back also if the action is cancelled.
struct Taken {
    subjects: Arc<Mutex<Subjects>>,
    subject: Subject,
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.subjects).give_back(self.subject);
    }
}

fn lock(subjects: &Mutex<Subjects>) -> MutexGuard<'_, Subjects> {
    subjects.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            subjects: Arc::default(),
            last: GroupId::SYSTEM,
            slots: Arc::new(Semaphore::new(PARALLEL_MAX)),
            node_slots: BTreeMap::new(),
            tasks: Vec::new(),
            ended: Arc::default(),
            stop: CancellationToken::new(),
        }
    }
}

impl Actions {
    /// Starts the fences and actions of a pass and returns at once. A fence comes before another action of its group.
    /// The end of the last action wakes the coordinator for another pass.
    pub fn start(&mut self, member: &Arc<Member>, fences: Vec<Fence>, actions: Vec<Action>) {
        self.tasks.retain(|task| !task.is_finished());
        for fence in self.in_turn(fences, |fence| fence.group) {
            let (group, node) = (fence.group, fence.node);
            self.start_one(member, group, node, fence_in_time(Arc::clone(member), fence));
        }
        let (mut proposals, mut changes) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Propose(kind) => proposals.push(kind),
                Action::ChangeMembership { group, leader_node, .. }
                | Action::Transfer { group, leader_node, .. }
                | Action::Settings { group, leader_node, .. }
                | Action::RaiseRules { group, leader_node, .. } => {
                    changes.push((group, leader_node, action));
                }
            }
        }
        for (group, node, action) in self.in_turn(changes, |(group, ..)| *group) {
            if self.start_one(member, group, node, act_in_time(Arc::clone(member), action)) {
                self.last = group;
            }
        }
        if !proposals.is_empty() {
            self.spawn(member, Subject::Catalogue, propose_all(Arc::clone(member), proposals));
        }
    }

    /// Orders actions by group, beginning behind the last group that was started.
    fn in_turn<T>(&self, mut items: Vec<T>, group: impl Fn(&T) -> GroupId) -> Vec<T> {
        items.sort_by_key(|item| (group(item) <= self.last, group(item)));
        items
    }

    /// Runs the action of a group as a task, once the node and the coordinator have a free slot. Returns false if the
    /// group has an action already.
    fn start_one(
        &mut self,
        member: &Arc<Member>,
        group: GroupId,
        node: NodeId,
        action: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let of_node = self.node_slots.entry(node).or_insert_with(|| Arc::new(Semaphore::new(PARALLEL_NODE_MAX)));
        let (of_node, slots) = (Arc::clone(of_node), Arc::clone(&self.slots));
        self.spawn(member, Subject::Group(group), async move {
            let both = async { (of_node.acquire().await, slots.acquire().await) };
            if let Ok((Ok(_of_node), Ok(_slot))) = tokio::time::timeout(QUEUE_MAX, both).await {
                action.await;
            }
        })
    }

    fn spawn(
        &mut self,
        member: &Arc<Member>,
        subject: Subject,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        if !lock(&self.subjects).take(subject) {
            return false;
        }
        let taken = Taken { subjects: Arc::clone(&self.subjects), subject };
        let (member, stop, subjects) = (Arc::clone(member), self.stop.clone(), Arc::clone(&self.subjects));
        let ended = Arc::clone(&self.ended);
        self.tasks.push(rt::spawn_task("coordinator action", TaskKind::Call, async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
            drop(taken);
            ended.notify_one();
            if lock(&subjects).is_empty() {
                member.look.notify_one();
            }
        }));
        true
    }

    /// True while proposals to the catalogue are in progress. A pass before the end of the last proposal is not needed.
    #[must_use]
    pub fn proposing(&self) -> bool {
        lock(&self.subjects).catalogue
    }

    /// True while any action is in progress.
    #[must_use]
    pub fn busy(&self) -> bool {
        !lock(&self.subjects).is_empty()
    }

    /// Waits until no action is in progress, at most for `patience`. Actions are usually short, and an observation after
    /// their end is worth more than an earlier one.
    pub async fn idle(&self, patience: Duration) {
        let idle = async {
            while self.busy() {
                self.ended.notified().await;
            }
        };
        // After the time limit, the next pass runs beside the actions.
        let _in_time = tokio::time::timeout(patience, idle).await;
    }

    /// Cancels all actions and waits for the end of their tasks. A cancelled request may still be carried out by its node.
    pub async fn end(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "an action of the coordinator did not end");
            }
        }
        self.stop = CancellationToken::new();
    }
}

/// Proposes commands in order. After a proposal without an answer, the remaining proposals are dropped, and the next pass
/// plans again from a new observation.
async fn propose_all(member: Arc<Member>, proposals: Vec<Kind>) {
    for kind in proposals {
        match member.propose_here(kind.clone(), Instant::now() + PROPOSE_TIMEOUT).await {
            Ok(CatalogueOutcome::Refused(why)) => {
                tracing::debug!(?kind, %why, "the catalogue refused a planned command");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(?kind, %error, "a planned command was not recorded");
                return;
            }
        }
    }
}

/// Asks the node of a divergent replica to fence the replica. After a refusal or a timeout, a later pass asks again.
async fn fence_in_time(member: Arc<Member>, fence: Fence) {
    let Fence { group, replica, node, index, .. } = fence;
    let answer = tokio::time::timeout(FENCE_TIMEOUT, fence_one(&member, &fence)).await;
    match answer.unwrap_or_else(|_| Err("the node did not answer in time".into())) {
        Ok(()) => tracing::warn!(%group, %replica, %node, index, reason = fence::REASON, "a replica was fenced"),
        Err(why) => tracing::debug!(%group, %replica, %node, index, %why, "a replica is not fenced yet"),
    }
}

async fn fence_one(member: &Arc<Member>, fence: &Fence) -> Result<(), String> {
    let (digest, majority) = (fence.digest.0.to_vec().into(), fence.majority.0.to_vec().into());
    let ask = FenceAsk { why: Some(Why::Divergence(Divergence { index: fence.index, digest, majority })) };
    if fence.node == member.node() {
        let key = LogKey { group: fence.group, replica: fence.replica };
        return fence::fence(member, fence.node, key, &ask).await.map(drop).map_err(|e| e.to_string());
    }
    let (group, node, replica) = (fence.group, fence.node, fence.replica);
    send(member, FrameKind::Fence, group, node, replica, ask.encode_to_vec(), FENCE_TIMEOUT).await
}

/// Asks the node of a fenced replica to remove the data.
///
/// # Errors
/// [`CallError`] of the node, also if the node is this node.
pub(crate) async fn free(member: &Arc<Member>, key: LogKey, node: NodeId) -> Result<(), CallError> {
    if node == member.node() {
        return free_replica::free(member, node, key).await.map_err(|e| CallError::Refused(e.into()));
    }
    let request = request(member, FrameKind::FreeReplica, key.group, key.replica, Vec::new());
    member.parts.home.transport.call(node, request, FREE_TIMEOUT).await.map(drop)
}

async fn act_in_time(member: Arc<Member>, action: Action) {
    let what = format!("{action:?}");
    failpoint::reach("coordinator-change");
    let answer = tokio::time::timeout(CHANGE_TIMEOUT, act(&member, action)).await;
    if let Err(why) = answer.unwrap_or_else(|_| Err("the leader did not answer in time".into())) {
        tracing::debug!(%what, %why, "a planned change was not carried out");
    }
    failpoint::reach("coordinator-changed");
}

async fn act(member: &Arc<Member>, action: Action) -> Result<(), String> {
    match action {
        Action::Propose(_) => Ok(()),
        Action::ChangeMembership { group, leader_node, leader, expected, voters, learners } => {
            let change = pb::ChangeMembership {
                expected: expected.map(point),
                voters: voters.iter().map(|r| r.get()).collect(),
                learners: hosts(&learners),
            };
            if leader_node == member.node() {
                let here = local(member, group, leader)?;
                return operations::change_membership(&here, &change).await.map_err(|no| no.message);
            }
            send(
                member,
                FrameKind::ChangeMembership,
                group,
                leader_node,
                leader,
                change.encode_to_vec(),
                CHANGE_TIMEOUT,
            )
            .await
        }
        Action::Settings { group, leader_node, leader, settings } => {
            store_command(member, group, leader_node, leader, stream::Kind::Settings(settings)).await
        }
        Action::RaiseRules { group, leader_node, leader, rules } => {
            store_command(member, group, leader_node, leader, stream::Kind::RaiseRules(rules)).await
        }
        Action::Transfer { group, leader_node, leader, to } => {
            if leader_node == member.node() {
                let here = local(member, group, leader)?;
                return operations::hand_over(&here, to).await.map_err(|no| no.message);
            }
            let hand_over = HandOver { to_replica: to.get() }.encode_to_vec();
            send(member, FrameKind::HandOver, group, leader_node, leader, hand_over, CHANGE_TIMEOUT).await
        }
    }
}

/// Proposes a command to the log of a store, through the leader.
async fn store_command(
    member: &Member,
    group: GroupId,
    leader_node: NodeId,
    leader: ReplicaId,
    kind: stream::Kind,
) -> Result<(), String> {
    if leader_node == member.node() {
        let here = local(member, group, leader)?;
        return operations::store_command(&here, kind).await.map_err(|no| no.message);
    }
    // The leader proposes under the rules in force in its log.
    let command = encode_command(&stream::Command { rules: RULES, kind }).to_vec();
    send(member, FrameKind::StoreCommand, group, leader_node, leader, command, CHANGE_TIMEOUT).await
}

fn local(member: &Member, group: GroupId, replica: ReplicaId) -> Result<Arc<taffrail_raft::group::Group>, String> {
    let here = member.replica(group).filter(|g| g.key().replica == replica);
    here.ok_or_else(|| "the replica that led the group no longer runs on this node".to_owned())
}

fn point((term, leader, index): LogPoint) -> pb::LogId {
    pb::LogId { term, leader, index }
}

fn hosts(learners: &BTreeMap<ReplicaId, NodeId>) -> Vec<pb::Host> {
    learners.iter().map(|(r, n)| pb::Host { replica: r.get(), node: n.get() }).collect()
}

async fn send(
    member: &Member,
    kind: FrameKind,
    group: GroupId,
    node: NodeId,
    replica: ReplicaId,
    payload: Vec<u8>,
    ttl: Duration,
) -> Result<(), String> {
    let request = request(member, kind, group, replica, payload);
    let answer = member.parts.home.transport.call(node, request, ttl).await;
    answer.map(drop).map_err(|e| e.to_string())
}

/// Creates a request of this node to a replica.
fn request(member: &Member, kind: FrameKind, group: GroupId, replica: ReplicaId, payload: Vec<u8>) -> Request {
    let from_replica = ReplicaId::new(member.node().get());
    Request { kind, group, from_replica, to_replica: replica, payload: payload.into() }
}

/// Transfers every leadership of `node` to another caught-up voter. Returns the number of leaderships left on the node.
pub async fn transfer_all(member: &Arc<Member>, node: NodeId) -> u32 {
    let catalogue = member.applied();
    let mut reports = Reports::default();
    super::observe::poll(member, &mut reports).await;
    let observed = super::observe::observed(member, &catalogue, &reports);
    let mut remaining = 0;
    for (group, seen) in observed.groups.iter().filter(|(_, s)| s.leader_node == node) {
        // The system group comes last, because its leader coordinates the other transfers and may be this node.
        if *group == GroupId::SYSTEM {
            continue;
        }
        remaining += u32::from(!hand_on(member, *group, seen).await);
    }
    if let Some(seen) = observed.groups.get(&GroupId::SYSTEM).filter(|s| s.leader_node == node) {
        remaining += u32::from(!hand_on(member, GroupId::SYSTEM, seen).await);
    }
    remaining
}

/// Transfers the leadership of a group to the best candidate. Returns true if the transfer succeeded, or if a transfer
/// is impossible because the group has a single voter.
async fn hand_on(member: &Arc<Member>, group: GroupId, seen: &taffrail_core::plan::GroupObservation) -> bool {
    let voters = seen.voters();
    // The observation may be outdated, so the leader checks again whether the replica can take over.
    let replicas = voters.iter().map(|v| Candidate {
        replica: *v,
        voter: true,
        matched: seen.matched.get(v).copied().unwrap_or(0),
    });
    let Some(to) = best_candidate(seen.leader, replicas).map(|c| c.replica) else { return voters.len() == 1 };
    let transfer = Action::Transfer { group, leader_node: seen.leader_node, leader: seen.leader, to };
    act(member, transfer).await.is_ok()
}

#[cfg(test)]
mod tests;
