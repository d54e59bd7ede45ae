use super::*;
use crate::{
    coordinator,
    member::test_node::{Node, declare, registration},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::collections::BTreeMap;
use taffrail_core::{
    catalogue::Registration,
    ids::{Digest, DiskId},
};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest, NodeReport, ReplicaReport};
use taffrail_raft::peer::{CallError, PeerTransport};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

const PEER: NodeId = NodeId::new(2);

/// A transport to a peer that reports `report`, accepts every other request of the coordinator and never answers it.
struct Mute {
    report: watch::Receiver<NodeReport>,
    /// Numbers of requests without an answer: in total, at this moment, and at most at the same time.
    asked: watch::Sender<(usize, usize, usize)>,
}

impl Mute {
    fn new() -> (Arc<Self>, watch::Sender<NodeReport>) {
        let (reports, report) = watch::channel(NodeReport::default());
        (Arc::new(Self { report, asked: watch::channel((0, 0, 0)).0 }), reports)
    }
}

/// A request without an answer.
struct Asked(watch::Sender<(usize, usize, usize)>);

impl Asked {
    fn new(asked: &watch::Sender<(usize, usize, usize)>) -> Self {
        asked.send_modify(|(all, now, most)| (*all, *now, *most) = (*all + 1, *now + 1, (*most).max(*now + 1)));
        Self(asked.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.send_modify(|(_, now, _)| *now -= 1);
    }
}

impl PeerTransport for Mute {
    fn call(&self, to: NodeId, request: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        if request.kind == FrameKind::Report {
            return std::future::ready(Ok(self.report.borrow().encode_to_vec().into())).boxed();
        }
        if !matches!(request.kind, FrameKind::ChangeMembership | FrameKind::HandOver | FrameKind::Fence) {
            return std::future::ready(Err(CallError::Unreachable(to))).boxed();
        }
        let asked = Asked::new(&self.asked);
        async move {
            let _asked = asked;
            std::future::pending().await
        }
        .boxed()
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
}

fn change(group: u64, leader_node: NodeId) -> Action {
    Action::ChangeMembership {
        group: GroupId::new(group),
        leader_node,
        leader: ReplicaId::new(1000 + group),
        expected: None,
        voters: [ReplicaId::new(1000 + group)].into(),
        learners: BTreeMap::new(),
    }
}

fn a_fence(group: u64) -> Fence {
    Fence {
        group: GroupId::new(group),
        replica: ReplicaId::new(1000 + group),
        node: PEER,
        index: 5,
        digest: Digest([1; 32]),
        majority: Digest([2; 32]),
    }
}

async fn within_a_minute<F: Future>(what: &str, until: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), until).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
async fn a_group_has_one_action_and_a_node_that_does_not_answer_delays_no_other_node() {
    let dir = tempfile::tempdir().unwrap();
    let (mute, _reports) = Mute::new();
    let node = Node::start_among(dir.path(), Arc::clone(&mute) as _).await;
    let mut asked = mute.asked.subscribe();
    let mut actions = Actions::default();
    let both = |group| [change(group, PEER), change(group, NodeId::new(3))];
    actions.start(&node.member, vec![a_fence(1)], (1..=40).flat_map(both).collect());
    let started = asked.wait_for(|(_, now, _)| *now == PARALLEL_NODE_MAX);
    within_a_minute("the first actions start", started).await.unwrap();
    // The second change of each group was refused, so only the silent node is asked so far.
    actions.start(&node.member, Vec::new(), vec![change(50, NodeId::new(3))]);
    let started = asked.wait_for(|(_, now, _)| *now == PARALLEL_NODE_MAX + 1);
    within_a_minute("the action of another node starts beside the queue", started).await.unwrap();
    assert!(actions.busy() && !actions.proposing());
    actions.end().await;
    assert!(!actions.busy() && asked.borrow().1 == 0, "every action has ended");
    node.end().await;
}

#[tokio::test]
async fn many_fences_without_an_answer_end_in_a_bounded_time() {
    let dir = tempfile::tempdir().unwrap();
    let (mute, _reports) = Mute::new();
    let node = Node::start_among(dir.path(), Arc::clone(&mute) as _).await;
    let mut actions = Actions::default();
    tokio::time::pause();
    let begun = Instant::now();
    actions.start(&node.member, (1..=200).map(a_fence).collect(), Vec::new());
    assert_eq!(begun.elapsed(), Duration::ZERO, "the pass goes on");
    while actions.busy() {
        node.member.look.notified().await;
    }
    assert!(begun.elapsed() <= QUEUE_MAX + FENCE_TIMEOUT + Duration::from_millis(100), "{:?}", begun.elapsed());
    let (all, _, most) = *mute.asked.borrow();
    assert!(all >= 5 * PARALLEL_NODE_MAX && most == PARALLEL_NODE_MAX, "{all} requests, {most} at the same time");
    tokio::time::resume();
    node.end().await;
}

/// Returns the report of the peer as the leader of a formed group with itself as the only voter.
fn leads(group: GroupId, replica: ReplicaId) -> NodeReport {
    let host = pb::Host { replica: replica.get(), node: PEER.get() };
    let voters = pb::ReplicaSet { replicas: vec![replica.get()] };
    let membership = pb::Membership { configs: vec![voters], hosts: vec![host] };
    let log_id = Some(pb::LogId::default());
    let stored = pb::StoredMembership { log_id, membership: Some(membership) };
    let report = ReplicaReport {
        group: group.get(),
        replica: replica.get(),
        leads: true,
        term: 1,
        log_end: 6,
        committed: 5,
        applied: 5,
        membership: stored.encode_to_vec().into(),
        quorum: true,
        ..ReplicaReport::default()
    };
    NodeReport { replicas: vec![report], ..NodeReport::default() }
}

/// The coordinator of a cluster of two nodes: the peer leads a store that moves to this node, and never answers the
/// request for the membership change.
#[tokio::test]
async fn passes_and_proposals_go_on_while_an_action_is_never_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (mute, reports) = Mute::new();
    let node = Node::start_among(dir.path(), Arc::clone(&mute) as _).await;
    node.form(registration()).await;
    // The first store fills this node, so the second store is placed on the peer.
    declare(&node, "first").await;
    let disk = DiskId::new(Uuid::from_u128(8));
    let peer = Registration { disk, name: "main-1".into(), address: "127.0.0.1:2".into(), version: "1".into() };
    node.propose(Kind::Register(peer)).await;
    let store = declare(&node, "second").await;
    let catalogue = node.member.applied();
    let group = catalogue.stores[&store].group;
    let (replica, placed) = catalogue.groups[&group].replicas.iter().next().map(|(r, x)| (*r, x.node)).unwrap();
    assert_eq!(placed, PEER);
    reports.send_replace(leads(group, replica));
    let follow = taffrail_runtime::spawn(crate::member::replicas::follow(Arc::clone(&node.member)));
    let coordinator = taffrail_runtime::spawn(coordinator::run(Arc::clone(&node.member)));
    node.propose(Kind::Drain(PEER)).await;
    let mut asked = mute.asked.subscribe();
    let waits = asked.wait_for(|(_, now, _)| *now > 0);
    within_a_minute("the coordinator asks the peer to change the membership", waits).await.unwrap();
    let mut passes = node.member.passes.subscribe();
    for _ in 0..5 {
        let (begun, _) = *passes.borrow();
        node.member.look.notify_one();
        let published = tokio::time::timeout(Duration::from_secs(3), passes.wait_for(|(_, done)| *done > begun)).await;
        published.expect("a pass while the action is in progress").unwrap();
        assert!(asked.borrow().1 > 0, "the action has ended");
    }
    node.propose(Kind::CancelDrain(PEER)).await;
    node.member.parts.stop.cancel();
    within_a_minute("the coordinator ends", coordinator).await.unwrap();
    within_a_minute("the replicas are no longer followed", follow).await.unwrap();
    assert_eq!(asked.borrow().1, 0, "the coordinator ends its actions");
    node.end().await;
}
