use super::*;
use crate::{
    log::rocksdb_log::RocksdbLog,
    machine::{CatchUpPoint, DetachedFlush, MachineError},
    peer::{CallError, NoPeers, Request},
    types::{Entry, StoredMembership},
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::BTreeMap, time::Duration};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest};
use tokio::sync::mpsc;
use uuid::Uuid;

mod slow_link;

const KIB: u64 = 1 << 10;

/// A machine that keeps only the applied log id, and loses what is not flushed.
#[derive(Default)]
struct Position {
    applied: (Option<LogId>, StoredMembership),
    flushed: (Option<LogId>, StoredMembership),
    slow_flush: Option<Arc<SlowFlush>>,
}

/// A flush that lasts until an entry is applied.
struct SlowFlush {
    begun: tokio::sync::Semaphore,
    applied: Mutex<std::sync::mpsc::Receiver<()>>,
    on_apply: std::sync::mpsc::SyncSender<()>,
}

impl Machine for Position {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        self.applied.clone()
    }
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        Ok(self.flushed.clone())
    }
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        for entry in entries {
            self.applied.0 = Some(entry.log_id);
            if let Some(slow) = &self.slow_flush {
                slow.on_apply.send(()).unwrap();
            }
            if let crate::types::Payload::Membership(m) = &entry.payload {
                self.applied.1 = StoredMembership::new(Some(entry.log_id), m.clone());
            }
        }
        Ok(vec![Reply::None; entries.len()])
    }
    fn flush(&mut self) -> Result<(), MachineError> {
        self.flushed = self.applied.clone();
        Ok(())
    }
    fn detached_flush(&self) -> Option<DetachedFlush> {
        let slow = Arc::clone(self.slow_flush.as_ref()?);
        Some(Box::new(move || {
            slow.begun.add_permits(1);
            let applied = slow.applied.lock().unwrap().recv_timeout(Duration::from_secs(20));
            applied.map_err(|_| MachineError::Storage("nothing was applied during the flush".into()))
        }))
    }
    fn progress(&self) -> Applied {
        Applied { index: self.applied.0.map_or(0, |id| id.index), ..Applied::default() }
    }
    fn digest(&self) -> Digest {
        Digest::default()
    }
    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint::default()
    }
    fn must_refill(&self) -> bool {
        false
    }
    fn begin_install(&mut self) -> Result<(), MachineError> {
        Ok(())
    }
    fn install(&mut self, _: CatchUpChunk) -> Result<(), MachineError> {
        Ok(())
    }
    fn finish_install(&mut self) -> Result<(), MachineError> {
        Ok(())
    }
    fn abort_install(&mut self) -> Result<(), MachineError> {
        Ok(())
    }
}

/// Starts the only replica of a group, and waits until the replica leads.
async fn leader(disk: &Arc<RocksdbLog>, tuning: Tuning) -> Arc<Group> {
    let home = Home {
        cluster: ClusterId::new(Uuid::from_u128(1)),
        node: NodeId::new(1),
        disk: Arc::clone(disk) as Arc<dyn LogDisk>,
        transport: Arc::new(NoPeers),
        tuning,
        catch_ups: CatchUpLimits::new(u64::MAX),
        on_fatal: Arc::new(|e| panic!("{e}")),
    };
    let key = LogKey { group: GroupId::new(7), replica: ReplicaId::new(1) };
    let group = Group::start(&home, key, Box::new(Position::default())).await.unwrap();
    group.initialize(&BTreeMap::from([(key.replica, home.node)])).await.unwrap();
    wait(&group, async || group.leads()).await;
    group
}

/// Waits at most a minute until `done` returns true; asks again after each change of the replica's metrics.
async fn wait(group: &Group, mut done: impl AsyncFnMut() -> bool) {
    let mut watch = group.watch();
    while !done().await {
        let changed = tokio::time::timeout_at(later(), group.changed(&mut watch)).await;
        assert!(changed.expect("nothing changes any more"), "the replica stopped");
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn large_entries_are_purged_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let tuning = Tuning { purge_after_bytes: 1024 * KIB, keep_bytes: 512 * KIB, ..Tuning::default() };
    let group = leader(&disk, tuning).await;
    let command = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..8 {
        group.propose(command.clone(), later()).await.unwrap();
    }
    group.purge_if_due().await;
    assert_eq!(group.log.bounds().0, 0, "half a MiB is not enough for a flush");
    for _ in 0..32 {
        group.propose(command.clone(), later()).await.unwrap();
    }
    wait(&group, async || {
        group.purge_if_due().await;
        group.log.bytes().total < (512 + 2 * 64) * KIB
    })
    .await;
    let ((first, end), bytes) = (group.log.bounds(), group.log.bytes());
    assert!(first > 0 && end - first >= 8, "the log keeps half a MiB: {first}..{end}");
    assert!(bytes.total >= 512 * KIB && bytes.grown >= 40 * 64 * KIB, "{bytes:?}");
    group.stop().await;
}

#[tokio::test]
async fn small_entries_are_purged_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let group = leader(&disk, Tuning { purge_after_entries: 20, keep_entries: 6, ..Tuning::default() }).await;
    for _ in 0..10 {
        group.propose(Bytes::from_static(b"small"), later()).await.unwrap();
    }
    group.purge_if_due().await;
    assert_eq!((group.purgeable(), group.log.bounds().0), (None, 0), "nothing is flushed before twenty entries");
    for _ in 0..20 {
        group.propose(Bytes::from_static(b"small"), later()).await.unwrap();
    }
    wait(&group, async || {
        group.purge_if_due().await;
        group.log.bounds().0 > 0
    })
    .await;
    let (first, end) = group.log.bounds();
    assert!(first > 6 && end - first >= 6, "the log keeps six flushed entries: {first}..{end}");
    group.stop().await;
}

#[tokio::test]
async fn entries_are_applied_during_a_flush() {
    let (on_apply, applied) = std::sync::mpsc::sync_channel(8);
    let slow = SlowFlush { begun: tokio::sync::Semaphore::new(0), applied: Mutex::new(applied), on_apply };
    let slow = Arc::new(slow);
    let position = Position { slow_flush: Some(Arc::clone(&slow)), ..Position::default() };
    let machine = SharedMachine::new(Box::new(position), Arc::new(|e| panic!("{e}")));
    let apply = async {
        slow.begun.acquire().await.unwrap().forget();
        let log_id = LogId { leader_id: crate::types::LeaderId { term: 1, node_id: 1 }, index: 1 };
        let entry = Entry { log_id, payload: crate::types::Payload::Blank };
        machine.with(move |m| m.apply(&[entry])).await
    };
    let (flushed, applied) = tokio::join!(machine.flush(), apply);
    flushed.unwrap();
    assert_eq!(applied.unwrap().len(), 1);
}

#[tokio::test]
async fn a_command_that_no_request_between_nodes_holds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RocksdbLog::open(dir.path(), Arc::new(|e| panic!("{e}")), Arc::new(|_| {})).unwrap());
    let group = leader(&disk, Tuning::default()).await;
    let command = |bytes| Bytes::from(vec![7; bytes]);
    let refused = group.propose(command(COMMAND_BYTES_MAX + 1), later()).await;
    assert!(matches!(refused, Err(ProposeError::Refused(_))), "{refused:?}");
    group.propose(command(COMMAND_BYTES_MAX), later()).await.unwrap();
    // An append request with the largest command fits.
    let end = group.log.bounds().1;
    let largest = openraft::RaftLogReader::try_get_log_entries(&mut group.log.clone(), end - 1..end).await.unwrap();
    let request = openraft::raft::AppendEntriesRequest::<TypeConfig> {
        vote: crate::types::Vote::new_committed(u64::MAX, u64::MAX),
        prev_log_id: Some(largest[0].log_id),
        entries: largest,
        leader_commit: None,
    };
    let encoded = prost::Message::encoded_len(&crate::codec::append_to(&request));
    assert!(encoded > COMMAND_BYTES_MAX && encoded <= REQUEST_BYTES_MAX, "{encoded}");
    group.stop().await;
}
