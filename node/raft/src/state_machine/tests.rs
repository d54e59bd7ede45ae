use super::*;
use crate::{
    catch_up_limits::{CatchUpLimits, STEP_MAX},
    log::LogKey,
    machine::{CatchUpPoint, DetachedFlush, Machine, MachineError},
    peer::{CallError, PeerTransport, Request},
    types::{Host, LeaderId, Membership, Reply},
};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use taffrail_core::ids::{ClusterId, Digest, GroupId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Effect of a chunk on [`Noting`], chosen by the chunk's family number.
const FITS: u32 = 1;
const BROKEN: u32 = 2;
const BREAKS_THE_DISK: u32 = 3;

fn log_id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

fn of(index: u64) -> Digest {
    Digest([u8::try_from(index % 251).unwrap(); 32])
}

/// A machine that records the calls of an install. The last chunk sets its applied index to 10.
#[derive(Default)]
struct Noting {
    applied: Option<LogId>,
    notes: Arc<Mutex<Vec<&'static str>>>,
}

impl Noting {
    fn note(&self, what: &'static str) {
        self.notes.lock().unwrap().push(what);
    }
}

impl Machine for Noting {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        (self.applied, StoredMembership::default())
    }
    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        Ok(self.applied())
    }
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        self.applied = entries.last().map(|entry| entry.log_id);
        Ok(vec![Reply::default(); entries.len()])
    }
    fn flush(&mut self) -> Result<(), MachineError> {
        self.note("flush that excludes other calls");
        Ok(())
    }
    fn detached_flush(&self) -> Option<DetachedFlush> {
        let notes = Arc::clone(&self.notes);
        Some(Box::new(move || {
            notes.lock().unwrap().push("flush");
            Ok(())
        }))
    }
    fn progress(&self) -> Applied {
        Applied { index: self.applied.map_or(0, |id| id.index), ..Applied::default() }
    }
    fn digest(&self) -> Digest {
        of(self.applied.map_or(0, |id| id.index))
    }
    fn catch_up_point(&self) -> CatchUpPoint {
        CatchUpPoint::default()
    }
    fn must_refill(&self) -> bool {
        false
    }
    fn begin_install(&mut self) -> Result<(), MachineError> {
        self.note("begin");
        Ok(())
    }
    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        self.note("install");
        match chunk.family {
            BROKEN => Err(MachineError::Corrupt("the block does not decode".into())),
            BREAKS_THE_DISK => Err(MachineError::Storage("no space".into())),
            _ => Ok(()),
        }
    }
    fn finish_install(&mut self) -> Result<(), MachineError> {
        self.note("finish");
        self.applied = Some(log_id(10));
        Ok(())
    }
    fn abort_install(&mut self) -> Result<(), MachineError> {
        self.note("abort");
        Ok(())
    }
}

/// A transport that answers each request for state with the next prepared stream. A stream without chunks stays open and
/// silent.
struct Sources {
    silent: Mutex<Vec<mpsc::Sender<Result<CatchUpChunk, CallError>>>>,
    streams: Mutex<VecDeque<Vec<Result<CatchUpChunk, CallError>>>>,
    asked: Mutex<Vec<u64>>,
}

impl PeerTransport for Sources {
    fn call(&self, to: NodeId, _: Request, _: Duration) -> BoxFuture<'static, Result<Bytes, CallError>> {
        std::future::ready(Err(CallError::Unreachable(to))).boxed()
    }
    fn catch_up(
        &self,
        to: NodeId,
        _: CatchUpRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Result<CatchUpChunk, CallError>>, CallError>> {
        self.asked.lock().unwrap().push(to.get());
        let next = self.streams.lock().unwrap().pop_front();
        let (tx, rx) = mpsc::channel(next.as_ref().map_or(1, |chunks| chunks.len().max(1)));
        if next.as_ref().is_some_and(Vec::is_empty) {
            self.silent.lock().unwrap().push(tx.clone());
        }
        async move {
            let chunks = next.ok_or(CallError::Unreachable(to))?;
            for chunk in chunks {
                tx.try_send(chunk).unwrap();
            }
            Ok(rx)
        }
        .boxed()
    }
}

fn chunk(family: u32, last: bool) -> Result<CatchUpChunk, CallError> {
    let group_meta = if last { Bytes::from_static(b"last") } else { Bytes::new() };
    Ok(CatchUpChunk { family, group_meta, ..CatchUpChunk::default() })
}

struct Case {
    state: StateMachine,
    notes: Arc<Mutex<Vec<&'static str>>>,
    sources: Arc<Sources>,
    fatal: Arc<AtomicBool>,
    digests: Digests,
    source: watch::Sender<Option<CatchUpFrom>>,
}

fn case(streams: Vec<Vec<Result<CatchUpChunk, CallError>>>) -> Case {
    let noting = Noting::default();
    let notes = Arc::clone(&noting.notes);
    let fatal = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fatal);
    let applied = noting.applied();
    let machine = SharedMachine::new(Box::new(noting), Arc::new(move |_| told.store(true, Ordering::SeqCst)));
    let sources =
        Arc::new(Sources { silent: Mutex::default(), streams: Mutex::new(streams.into()), asked: Mutex::default() });
    let (source, source_rx) = watch::channel(None);
    let context = ReplicaContext {
        key: LogKey { group: GroupId::new(7), replica: ReplicaId::new(1) },
        cluster: ClusterId::new(Uuid::from_u128(1)),
        node: NodeId::new(1),
        transport: Arc::clone(&sources) as _,
        stop: CancellationToken::new(),
        limits: CatchUpLimits::new(u64::MAX),
        source: source_rx,
    };
    let progress = watch::channel(Applied::default()).0;
    let digests = Digests::default();
    let state = StateMachine::new(machine, applied, context, Arc::new(progress), digests.clone());
    Case { state, notes, sources, fatal, digests, source }
}

impl Case {
    /// Installs a snapshot with this replica as 1 and replicas 2 and 3 on nodes of the same numbers; the source
    /// is replica 2.
    async fn install(&mut self) -> io::Result<()> {
        let hosts: BTreeMap<u64, Host> = (1..=3).map(|r| (r, Host(NodeId::new(r)))).collect();
        let membership = Membership::new(vec![(1..=3).collect()], hosts).unwrap();
        let last_membership = StoredMembership::new(Some(log_id(1)), membership);
        let meta = SnapshotMeta { last_log_id: Some(log_id(10)), last_membership };
        let from = CatchUpFrom { node: NodeId::new(2), replica: ReplicaId::new(2) };
        self.state.install_snapshot(&meta, from).await
    }
    fn notes(&self) -> Vec<&'static str> {
        self.notes.lock().unwrap().clone()
    }
    fn asked(&self) -> Vec<u64> {
        self.sources.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_chunk_that_does_not_decode_ends_the_try_and_another_voter_is_asked() {
    let mut case =
        case(vec![vec![chunk(FITS, false), chunk(BROKEN, false)], vec![chunk(FITS, false), chunk(FITS, true)]]);
    case.install().await.unwrap();
    assert_eq!(
        case.notes(),
        ["begin", "install", "install", "abort", "begin", "install", "install", "finish", "flush"]
    );
    assert_eq!(case.asked(), [2, 3], "the source first, then the other voter");
    assert!(!case.fatal.load(Ordering::SeqCst), "this replica's own storage did not fail");
}

#[tokio::test]
async fn a_last_chunk_that_does_not_decode_and_a_stream_that_breaks_are_tried_again() {
    let lost = Err(CallError::NoAnswer("the connection broke".into()));
    let mut case = case(vec![vec![chunk(BROKEN, true)], vec![chunk(FITS, false), lost], vec![chunk(FITS, true)]]);
    case.install().await.unwrap();
    let tries = ["begin", "install", "abort", "begin", "install", "abort", "begin", "install", "finish", "flush"];
    assert_eq!(case.notes(), tries);
    assert_eq!(case.asked(), [2, 3, 2], "in turn");
}

#[tokio::test]
async fn a_source_that_falls_silent_is_given_up_and_another_voter_is_asked() {
    tokio::time::pause();
    let mut case = case(vec![Vec::new(), vec![chunk(FITS, true)]]);
    let begun = tokio::time::Instant::now();
    tokio::time::timeout(STEP_MAX * 3, case.install()).await.expect("every receive has a time limit").unwrap();
    assert!(begun.elapsed() >= STEP_MAX);
    assert_eq!(case.notes(), ["begin", "abort", "begin", "install", "finish", "flush"]);
    assert_eq!(case.asked(), [2, 3]);
}

#[tokio::test]
async fn whoever_leads_by_now_is_asked_first() {
    let mut case = case(vec![vec![chunk(FITS, true)]]);
    case.source.send_replace(Some(CatchUpFrom { node: NodeId::new(3), replica: ReplicaId::new(3) }));
    case.install().await.unwrap();
    assert_eq!(case.asked(), [3]);
}

#[tokio::test]
async fn a_failure_of_our_own_disk_is_fatal_and_not_tried_again() {
    let mut case = case(vec![vec![chunk(BREAKS_THE_DISK, false)], vec![chunk(FITS, true)]]);
    assert!(case.install().await.is_err());
    assert_eq!(case.notes(), ["begin", "install"]);
    assert!(case.fatal.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_replica_that_stops_ends_its_wait() {
    let mut case = case(Vec::new());
    case.state.fetch.context.stop.cancel();
    assert_eq!(case.install().await.unwrap_err().kind(), io::ErrorKind::Interrupted);
}

#[tokio::test]
async fn what_a_replica_had_before_it_took_over_another_ones_state_is_forgotten() {
    let mut case = case(vec![vec![chunk(FITS, true)]]);
    for index in [3, 5] {
        case.digests.put(index, Digest([9; 32]));
    }
    case.install().await.unwrap();
    assert_eq!((case.digests.at(3), case.digests.at(5)), (None, None));
    assert_eq!(case.digests.last(), (10, of(10)));
}

#[tokio::test]
async fn all_replicas_pause_at_the_same_marks_however_the_entries_came() {
    let entry = |index| Entry { log_id: log_id(index), payload: Payload::Blank };
    for parts in [vec![1..=600], vec![1..=MARK_EVERY, MARK_EVERY + 1..=MARK_EVERY + 1, MARK_EVERY + 2..=600]] {
        let case = case(Vec::new());
        for part in parts {
            case.state.apply_slice(part.map(|index| (entry(index), None)).collect()).await.unwrap();
        }
        let marks = [MARK_EVERY, 2 * MARK_EVERY].map(|index| (index, of(index)));
        assert_eq!((case.digests.marks(), case.digests.last()), (marks.to_vec(), (600, of(600))));
    }
}
