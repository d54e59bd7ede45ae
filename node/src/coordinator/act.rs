//! Execution of a plan: proposals to the catalogue in order, and at the same time fences and changes of groups.

use crate::member::{fence, member::Member, operations};
use prost::Message;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use taffrail_core::{
    catalogue::CatalogueOutcome,
    ids::{GroupId, NodeId, ReplicaId},
    plan::{Action, Candidate, Fence, LogPoint, best_candidate},
};
use taffrail_proto::{
    peer::{Divergence, Fence as FenceAsk, FrameKind, HandOver, fence::Why},
    storage as pb,
};
use taffrail_raft::{log::LogKey, peer::Request};
use taffrail_runtime::failpoint;
use tokio::time::Instant;

/// Time limit for a proposal to the catalogue.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for the answer of a leader on another node to a membership change or a leadership transfer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for all fences of a pass together. A node completes a fence after the limit too, and the next pass
/// observes the result.
pub const FENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of fences, membership changes and leadership transfers in progress at the same time.
const PARALLEL_MAX: usize = 16;

/// Carries out the fences and actions of a pass. After a proposal without an answer, the remaining proposals are
/// dropped. The next pass plans again from a new observation.
pub async fn carry_out(member: &Arc<Member>, fences: Vec<Fence>, actions: Vec<Action>) {
    let (mut proposals, mut others) = (Vec::new(), Vec::new());
    for action in actions {
        match action {
            Action::Propose(kind) => proposals.push(kind),
            other @ (Action::ChangeMembership { .. } | Action::Transfer { .. }) => others.push(other),
        }
    }
    let proposing = async {
        for kind in proposals {
            match member.propose_here(kind.clone(), Instant::now() + PROPOSE_TIMEOUT).await {
                Ok(CatalogueOutcome::Refused(why)) => {
                    tracing::debug!(?kind, %why, "the catalogue refused a planned command")
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(?kind, %error, "a planned command was not recorded");
                    return;
                }
            }
        }
    };
    let slots = Arc::new(tokio::sync::Semaphore::new(PARALLEL_MAX));
    let fencing = fence_all(member, fences, &slots);
    let acting =
        futures::future::join_all(others.into_iter().map(|a| act_in_turn(Arc::clone(member), a, Arc::clone(&slots))));
    // The fences are polled first, so fences take the first slots.
    tokio::join!(fencing, proposing, acting);
}

/// Asks the nodes of divergent replicas to fence the replicas. After a refusal or a timeout, the next pass asks again.
async fn fence_all(member: &Arc<Member>, fences: Vec<Fence>, slots: &tokio::sync::Semaphore) {
    let until = Instant::now() + FENCE_TIMEOUT;
    let asked = fences.into_iter().map(|fence| async move {
        let Fence { group, replica, node, index, .. } = fence;
        let asking = async {
            let _slot = slots.acquire().await.map_err(|e| e.to_string())?;
            fence_one(member, &fence).await
        };
        let answer = tokio::time::timeout_at(until, asking).await;
        match answer.unwrap_or_else(|_| Err("the node did not answer in time".into())) {
            Ok(()) => tracing::warn!(%group, %replica, %node, index, reason = fence::REASON, "a replica was fenced"),
            Err(why) => tracing::debug!(%group, %replica, %node, index, %why, "a replica is not fenced yet"),
        }
    });
    futures::future::join_all(asked).await;
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

async fn act_in_turn(member: Arc<Member>, action: Action, slots: Arc<tokio::sync::Semaphore>) {
    let Ok(_slot) = slots.acquire().await else { return };
    let what = format!("{action:?}");
    failpoint::reach("coordinator-change");
    if let Err(why) = act(&member, action).await {
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
    let request = Request {
        kind,
        group,
        from_replica: ReplicaId::new(member.node().get()),
        to_replica: replica,
        payload: payload.into(),
    };
    let answer = member.parts.home.transport.call(node, request, ttl).await;
    answer.map(drop).map_err(|e| e.to_string())
}

/// Transfers every leadership of `node` to another caught-up voter. Returns the number of leaderships left on the node.
pub async fn transfer_all(member: &Arc<Member>, node: NodeId) -> u32 {
    let catalogue = member.applied();
    let polled = super::observe::poll(member).await;
    let observed = super::observe::observed(member, &catalogue, &polled);
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
