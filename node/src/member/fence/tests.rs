use super::*;
use crate::member::test_node::{HERE, Node, with_a_store};
use bytes::Bytes;
use prost::Message;
use std::time::Duration;
use taffrail_core::{
    catalogue::{CatalogueOutcome, CloseMode, Kind},
    ids::ReplicaId,
};
use taffrail_proto::peer::{FrameKind, RefusalKind};
use taffrail_raft::log::{LogDisk, ReplicaState};

impl Node {
    async fn ask(
        &self,
        from: NodeId,
        key: LogKey,
        index: u64,
        own: Digest,
        majority: Digest,
    ) -> Result<Bytes, RefusalKind> {
        let (digest, majority) = (own.0.to_vec().into(), majority.0.to_vec().into());
        let ask = pb::Fence { why: Some(Why::Divergence(pb::Divergence { index, digest, majority })) };
        self.frame(FrameKind::Fence, from, key, ask.encode_to_vec()).await
    }
}

/// Waits for the first applied entry. Returns the applied index and the digest of the replica.
async fn position(node: &Node, key: LogKey) -> (u64, Digest) {
    let group = node.member.running(key.group).unwrap().group;
    let mut progress = group.progress();
    progress.wait_for(|applied| applied.index > 0).await.unwrap();
    let status = group.status();
    (status.applied, status.digest)
}

#[tokio::test]
async fn a_fenced_replica_answers_nobody_and_is_never_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let other = Digest([9; 32]);
    node.ask(HERE, key, index, own, other).await.unwrap();
    let mark = node.member.fence_of(key).expect("the fence is remembered");
    assert_eq!((mark.index, mark.digest, mark.majority), (index, own, other));
    node.ask(HERE, key, index, own, other).await.expect("a repeated request succeeds");
    for _ in 0..2 {
        assert!(node.member.running(key.group).is_none() && node.member.not_ended(key.group).is_none());
        for kind in [FrameKind::Vote, FrameKind::Append, FrameKind::ReadIndex, FrameKind::BeginCatchUp] {
            assert_eq!(node.frame(kind, HERE, key, Vec::new()).await, Err(RefusalKind::Fenced), "{kind:?}");
        }
        // The catalogue still names the fenced replica.
        node.reconcile().await;
    }
    node.end().await;
    let node = Node::start(dir.path()).await;
    assert_eq!(node.member.fence_of(key), Some(mark), "also after a restart");
    node.propose(Kind::GroupFormed(key.group)).await;
    node.reconcile().await;
    assert!(node.member.not_ended(key.group).is_none(), "the fenced replica was opened again");
    assert_eq!(node.frame(FrameKind::Vote, HERE, key, Vec::new()).await, Err(RefusalKind::Fenced));
    assert_eq!(
        node.log.replicas().await.unwrap().iter().find(|(k, _)| *k == key).unwrap().1,
        ReplicaState::Fenced(mark)
    );
    node.end().await;
}

#[tokio::test]
async fn the_data_of_a_fenced_replica_stays_until_the_coordinator_frees_the_retired_replica() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let (free, stranger) = (FrameKind::FreeReplica, NodeId::new(2));
    assert_eq!(node.frame(free, HERE, key, Vec::new()).await, Err(RefusalKind::Rejected), "the replica is not fenced");
    node.ask(HERE, key, index, own, Digest([9; 32])).await.unwrap();
    assert_eq!(
        node.frame(free, HERE, key, Vec::new()).await,
        Err(RefusalKind::Rejected),
        "the group needs the replica"
    );
    node.propose(Kind::RetireReplica { group: key.group, replica: key.replica }).await;
    node.reconcile().await;
    assert_eq!(node.frame(free, stranger, key, Vec::new()).await, Err(RefusalKind::Rejected), "not the coordinator");
    node.end().await;

    let node = Node::start(dir.path()).await;
    let mut leader = node.member.system.watch();
    while node.member.system.leader().is_none() {
        assert!(node.member.system.changed(&mut leader).await);
    }
    node.propose(Kind::GroupFormed(key.group)).await;
    node.reconcile().await;
    let is_fenced = |states: Vec<(LogKey, ReplicaState)>| {
        states.iter().any(|(k, state)| *k == key && matches!(state, ReplicaState::Fenced(_)))
    };
    assert!(is_fenced(node.log.replicas().await.unwrap()) && !node.member.is_deleted(key), "the data was removed");
    let CatalogueOutcome::Replica(_) = node.propose(Kind::AddReplica { group: key.group, node: HERE }).await else {
        panic!("the catalogue takes no further replica of the group")
    };
    node.reconcile().await;
    assert!(node.member.not_ended(key.group).is_none(), "another replica writes to the rows of the fenced replica");
    for _ in 0..2 {
        node.frame(free, HERE, key, Vec::new()).await.expect("a repeated request succeeds");
        assert!(node.member.fenced().is_empty() && node.member.is_deleted(key));
    }
    assert!(!is_fenced(node.log.replicas().await.unwrap()));
    node.reconcile().await;
    assert!(node.member.not_ended(key.group).is_some(), "the further replica starts");
    node.end().await;
}

#[tokio::test]
async fn a_deleted_store_removes_the_data_of_a_fenced_replica() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    node.ask(HERE, key, index, own, Digest([9; 32])).await.unwrap();
    let store = node.member.applied().groups[&key.group].store;
    node.propose(Kind::Close { store, mode: CloseMode::Delete, declared_by: String::new() }).await;
    node.reconcile().await;
    assert!(node.member.fenced().is_empty() && node.member.is_deleted(key));
    node.end().await;
}

#[tokio::test]
async fn evidence_that_does_not_hold_here_fences_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let other = Digest([9; 32]);
    let stranger = LogKey { replica: ReplicaId::new(key.replica.get() + 1), ..key };
    let system = LogKey { group: GroupId::SYSTEM, replica: ReplicaId::new(HERE.get()) };
    for (refused, from, key, index, own, majority) in [
        (RefusalKind::Rejected, NodeId::new(2), key, index, own, other),
        (RefusalKind::NoSuchReplica, HERE, stranger, index, own, other),
        (RefusalKind::Rejected, HERE, key, index, other, own),
        (RefusalKind::Rejected, HERE, key, index + 1000, own, other),
        (RefusalKind::BadFrame, HERE, key, index, own, own),
        (RefusalKind::BadFrame, HERE, system, index, own, other),
    ] {
        assert_eq!(node.ask(from, key, index, own, majority).await, Err(refused));
    }
    let nothing = pb::Fence::default().encode_to_vec();
    assert_eq!(node.frame(FrameKind::Fence, HERE, key, nothing).await, Err(RefusalKind::BadFrame));
    assert!(node.member.fenced().is_empty() && node.member.running(key.group).is_some());
    node.end().await;
}

#[tokio::test]
async fn a_fence_that_was_begun_is_carried_out_also_if_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    let (index, own) = position(&node, key).await;
    let mut changes = node.member.changes.subscribe();
    let other = Digest([9; 32]);
    // The caller gives up right after the first step, before the thread of the log has written the mark.
    let mut asking = Box::pin(node.ask(HERE, key, index, own, other));
    assert!(futures::poll!(&mut asking).is_pending());
    drop(asking);
    let fenced = async {
        while node.member.fence_of(key).is_none() || node.member.not_ended(key.group).is_some() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), fenced).await.expect("the replica is fenced and stopped");
    node.end().await;
}
