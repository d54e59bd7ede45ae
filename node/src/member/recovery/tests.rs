use super::*;
use crate::member::{
    operations,
    test_node::{Node, with_a_store},
};
use taffrail_core::{
    ids::{GroupId, PartitionId, ReplicaId},
    stream::PartitionMeta,
};
use taffrail_storage::store::{
    codec,
    group_state::GroupState,
    schema::{self, Family},
    state_db::Batch,
};

const KEY: LogKey = LogKey { group: GroupId::new(7), replica: ReplicaId::new(1) };

#[tokio::test]
async fn the_pauses_double_up_to_a_bound_and_a_sound_replica_begins_again() {
    tokio::time::pause();
    let recovery = Recovery::default();
    assert!(recovery.is_due(KEY));
    let seconds: Vec<u64> = (0..9).map(|n| recovery.failed(KEY, format!("failure {n}")).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    assert!(!recovery.is_due(KEY));
    tokio::time::advance(Duration::from_secs(63)).await;
    assert!(!recovery.is_due(KEY));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(recovery.is_due(KEY));
    let broken = Broken { key: KEY, failures: 9, why: "failure 8".into() };
    assert_eq!(recovery.broken(), [broken]);

    let since = Instant::now();
    tokio::time::advance(SOUND_AFTER - Duration::from_secs(1)).await;
    recovery.runs(KEY, since);
    assert_eq!(recovery.broken().len(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    recovery.runs(KEY, since);
    assert_eq!(recovery.broken(), []);
    assert_eq!(recovery.failed(KEY, String::new()), PAUSE_MIN);
}

#[tokio::test]
async fn a_replica_is_not_due_while_a_refill_is_in_progress() {
    let (recovery, node) = (Recovery::default(), CancellationToken::new());
    let stop = recovery.begin_refill(KEY, &node).unwrap();
    assert!(!recovery.is_due(KEY));
    assert!(recovery.begin_refill(KEY, &node).is_none(), "a second refill would be a second writer");
    let ending = recovery.end_refill(KEY);
    let task = async {
        stop.cancelled().await;
        recovery.refill_ended(KEY, &Ok(()));
    };
    let (ended, ()) = tokio::join!(ending, task);
    ended.unwrap();
    assert!(recovery.is_due(KEY));
    recovery.end_refill(KEY).await.unwrap();
}

/// Reconciles many times within each pause, and returns the failures as reported to the coordinator.
async fn failures(node: &Node, key: LogKey, pauses: u32) -> Option<u32> {
    for _ in 0..pauses {
        for _ in 0..20 {
            node.reconcile().await;
        }
        refill_ends(node, key).await;
        tokio::time::advance(PAUSE_MAX).await;
    }
    let report = operations::report(&node.member);
    let broken = report.broken.iter().find(|b| (b.group, b.replica) == (key.group.get(), key.replica.get()));
    broken.map(|b| b.failures)
}

/// Waits for the end of a refill in progress.
async fn refill_ends(node: &Node, key: LogKey) {
    let refill = node.member.recovery.lock().get(&key).and_then(|t| t.refill.clone());
    if let Some(refill) = refill {
        refill.ended.cancelled().await;
    }
}

/// Starts a node with a store, changes the rows of the store while the node is down, and starts the node again.
async fn with_rows(dir: &std::path::Path, change: impl FnOnce(&mut Batch, GroupId, PartitionId)) -> (Node, LogKey) {
    let (node, key) = with_a_store(dir).await;
    let partition = node.member.running(key.group).unwrap().partition;
    node.end().await;
    let node = Node::start(dir).await;
    let mut catalogue = node.member.catalogue.clone();
    catalogue.wait_for(|c| c.groups.contains_key(&key.group)).await.unwrap();
    let mut batch = Batch::default();
    change(&mut batch, key.group, partition);
    node.member.parts.db.write(batch).unwrap();
    (node, key)
}

#[tokio::test]
async fn a_replica_that_does_not_open_is_tried_with_pauses_and_reported_as_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_rows(dir.path(), |batch, _, partition| {
        batch.put(Family::Meta, schema::partition_meta(partition), *b"damaged");
    })
    .await;
    tokio::time::pause();
    assert_eq!(failures(&node, key, FAILURES_MAX - 1).await, None, "not reported yet");
    assert_eq!(failures(&node, key, 1).await, Some(FAILURES_MAX), "one start per pause, however often the node looks");
    assert!(node.member.running(key.group).is_none());
    tokio::time::resume();
    node.end().await;
}

#[tokio::test]
async fn a_replica_without_state_does_not_start_before_a_refill_and_is_reported_as_broken() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_rows(dir.path(), |batch, group, partition| {
        let state = GroupState { generation: 1, must_refill: true, ..GroupState::default() };
        batch.put(Family::Meta, schema::group_meta(group), state.encode());
        batch.put(Family::Meta, schema::partition_meta(partition), codec::encode_partition(&PartitionMeta::default()));
    })
    .await;
    tokio::time::pause();
    // The store has no other replica, so each refill fails.
    assert_eq!(failures(&node, key, FAILURES_MAX).await, Some(FAILURES_MAX));
    assert!(node.member.running(key.group).is_none() && node.member.not_ended(key.group).is_none());
    tokio::time::resume();
    node.end().await;
}
