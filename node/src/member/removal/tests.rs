use super::*;
use crate::member::test_node::{Node, with_a_store};
use bytes::Bytes;
use std::time::Duration;
use taffrail_core::{
    append::{Append, ExpectedRevision},
    event::NewEvent,
    ids::{EventId, ReplicaId},
    names::{EventType, StreamName},
};
use taffrail_raft::log::rocksdb_log::RocksdbLog;
use taffrail_storage::store::{
    schema::{self, Family},
    state_db::{Batch, Medium},
};
use taffrail_store_api::StoreReplica;
use tokio::time::Instant;
use uuid::Uuid;

const GROUP: GroupId = GroupId::new(7);
const PARTITION: PartitionId = PartitionId::new(0xff);

/// Number of rows of a group and its partition, by column family.
fn rows(db: &StateDb, group: GroupId, partition: PartitionId) -> Vec<(&'static str, usize)> {
    let view = db.view();
    let (from, to) = schema::partition_bounds(partition);
    let count = |family| {
        if family == Family::Meta {
            let keys = [schema::group_meta(group), schema::partition_meta(partition)];
            return keys.iter().filter(|key| view.get(family, *key).unwrap().is_some()).count();
        }
        view.rising(family, &from, &to).unwrap().count()
    };
    Family::ALL.map(|family| (family.name(), count(family))).into_iter().filter(|(_, n)| *n > 0).collect()
}

/// Writes a row of the partition into every column family, and flushes.
fn fill(db: &StateDb, group: GroupId, partition: PartitionId) {
    let mut batch = Batch::default();
    for family in Family::ALL.into_iter().filter(|f| *f != Family::Meta) {
        let mut key = schema::partition_bounds(partition).0;
        key.push(1);
        batch.put(family, key, *b"row");
    }
    batch.put(Family::Meta, schema::group_meta(group), *b"row");
    batch.put(Family::Meta, schema::partition_meta(partition), *b"row");
    db.write(batch).unwrap();
    db.flush().unwrap();
}

async fn append(node: &Node, key: LogKey) {
    let event = NewEvent {
        id: EventId::new(Uuid::from_u128(1)),
        event_type: EventType::new("Placed").unwrap(),
        content_type: "application/json".into(),
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
        tags: Vec::new(),
        correlation_id: String::new(),
        causation_id: String::new(),
        occurred_at_us: None,
    };
    let stream = StreamName::new("orders-1").unwrap();
    let append = Append { stream, expected: ExpectedRevision::Any, events: vec![event] };
    let running = node.member.running(key.group).unwrap();
    let mut watch = running.group.watch();
    while !running.group.leads() {
        assert!(running.group.changed(&mut watch).await);
    }
    running.replica.append(append, Arc::new(()), Instant::now() + Duration::from_secs(60)).await.unwrap();
    running.group.flush().await.unwrap();
}

#[tokio::test]
async fn a_node_that_died_between_tombstone_and_deletion_has_no_row_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let (node, key) = with_a_store(dir.path()).await;
    append(&node, key).await;
    let partition = node.member.running(key.group).unwrap().partition;
    // The node dies at the fault point between the first and the second step.
    write_synced(&*node.log, key, LogOp::Deleted(Tombstone { partition, cleared: false })).await.unwrap();
    let left = rows(&node.member.parts.db, key.group, partition);
    let families: Vec<_> = left.iter().map(|(family, _)| *family).collect();
    assert_eq!(families, ["meta", "data", "stream", "names", "dedup"], "the store has rows: {left:?}");
    node.end().await;

    let node = Node::start(dir.path()).await;
    assert_eq!(rows(&node.member.parts.db, key.group, partition), []);
    assert!(node.member.is_deleted(key), "the tombstone stays");
    let states = node.log.replicas().await.unwrap();
    assert!(states.contains(&(key, ReplicaState::Deleted(Tombstone { partition, cleared: true }))), "{states:?}");
    node.end().await;
}

struct Disks {
    log: RocksdbLog,
    db: Arc<StateDb>,
    _dir: tempfile::TempDir,
}

fn disks() -> Disks {
    let dir = tempfile::tempdir().unwrap();
    let log = RocksdbLog::open(&dir.path().join("log"), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap();
    let db = Arc::new(StateDb::open(&dir.path().join("state"), &Medium::Disk).unwrap());
    Disks { log, db, _dir: dir }
}

fn key(replica: u64) -> LogKey {
    LogKey { group: GROUP, replica: ReplicaId::new(replica) }
}

async fn write(disks: &Disks, replica: u64, op: LogOp) {
    write_synced(&disks.log, key(replica), op).await.unwrap();
}

async fn close(disks: Disks) {
    rt::blocking(move || disks.log.close()).await.unwrap();
}

const UNCLEARED: LogOp = LogOp::Deleted(Tombstone { partition: PARTITION, cleared: false });
const CLEARED: ReplicaState = ReplicaState::Deleted(Tombstone { partition: PARTITION, cleared: true });

#[tokio::test]
async fn rows_are_deleted_from_every_family_and_not_from_the_neighbours() {
    let disks = disks();
    let neighbour = (GroupId::new(8), PartitionId::new(0x100));
    fill(&disks.db, GROUP, PARTITION);
    fill(&disks.db, neighbour.0, neighbour.1);
    assert_eq!(rows(&disks.db, GROUP, PARTITION).len(), Family::ALL.len());
    write(&disks, 1, UNCLEARED).await;
    complete(&disks.log, &disks.db).await.unwrap();
    assert_eq!(rows(&disks.db, GROUP, PARTITION), []);
    assert_eq!(rows(&disks.db, neighbour.0, neighbour.1).len(), Family::ALL.len());
    assert_eq!(disks.log.replicas().await.unwrap(), [(key(1), CLEARED)]);
    close(disks).await;
}

#[tokio::test]
async fn rows_of_a_later_replica_survive_the_completion_of_the_earlier_removal() {
    let disks = disks();
    write(&disks, 1, UNCLEARED).await;
    write(&disks, 2, LogOp::Created(PARTITION)).await;
    fill(&disks.db, GROUP, PARTITION);
    complete(&disks.log, &disks.db).await.unwrap();
    assert_eq!(rows(&disks.db, GROUP, PARTITION).len(), Family::ALL.len());
    let states = disks.log.replicas().await.unwrap();
    assert_eq!(states, [(key(1), CLEARED), (key(2), ReplicaState::Live(PARTITION))]);
    close(disks).await;
}
