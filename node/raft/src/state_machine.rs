//! openraft's view of a `Machine`. All work on the machine runs away from the runtime's threads, one call at a time.
//!
//! Only what is flushed is ever called a snapshot: openraft purges the log up to it. Taking over another replica's state
//! happens inside `install_snapshot`, so nothing can be applied meanwhile; the received state may be newer than the
//! snapshot's log id, and entries that it already holds are skipped. Until openraft has come that far itself, no snapshot
//! names more than it knows of (`Told`): it would purge its log beyond the end of it.

use super::{
    digests::{Digests, MARK_EVERY},
    log::{LogKey, rocksdb_log::OnFatal},
    machine::{Machine, MachineError},
    membership::Change,
    network::CatchUpFrom,
    types::{Entry, LogId, StoredMembership, TypeConfig},
};
use crate::peer::{CallError, PeerTransport};
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_core::ids::{ClusterId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest};
use taffrail_runtime as rt;
use taffrail_runtime::failpoint;
use taffrail_store_api::Applied;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Entries that one write takes at most.
const APPLY_ENTRIES_MAX: usize = 1024;
/// Pause after the first failed try to fetch another replica's state; it doubles with each further one up to the longest,
/// which also bounds how often a failure is logged.
const CATCH_UP_RETRY: Duration = Duration::from_millis(200);
const CATCH_UP_RETRY_MAX: Duration = Duration::from_secs(5);

/// A machine shared between openraft's worker and the group's handle.
#[derive(Clone)]
pub struct Shared {
    machine: Arc<Mutex<Box<dyn Machine>>>,
    on_fatal: OnFatal,
}

impl Shared {
    /// Wraps a machine.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>, on_fatal: OnFatal) -> Self {
        Self { machine: Arc::new(Mutex::new(machine)), on_fatal }
    }
    fn lock(&self) -> MutexGuard<'_, Box<dyn Machine>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Runs `work` on the machine, away from the runtime's threads.
    ///
    /// # Errors
    /// What the machine says; `Interrupted` when the runtime goes down.
    pub async fn with<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Machine) -> Result<T, MachineError> + Send + 'static,
    {
        let this = self.clone();
        rt::blocking(move || work(&mut **this.lock()))
            .await
            .map_err(|e| io::Error::new(io::ErrorKind::Interrupted, e))?
            .map_err(|e| {
                let failed = matches!(e, MachineError::Storage(_));
                let e = machine_error(e);
                if failed {
                    (self.on_fatal)(&e);
                }
                e
            })
    }
}

fn machine_error(e: MachineError) -> io::Error {
    let kind = match &e {
        MachineError::Corrupt(_) => io::ErrorKind::InvalidData,
        MachineError::Unsupported(_) => io::ErrorKind::Unsupported,
        MachineError::Storage(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}

/// What a replica is and whom it may ask for state.
#[derive(Clone)]
pub struct Place {
    /// Group and replica.
    pub key: LogKey,
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The way to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Ends the replica.
    pub stop: CancellationToken,
    /// Whose state to take over, kept up to date: whoever leads or asked last.
    pub source: watch::Receiver<Option<CatchUpFrom>>,
}

/// Up to where openraft believes this replica has applied, and the membership as of it.
type Told = (Option<LogId>, StoredMembership);

/// See the module.
#[derive(Clone)]
pub struct StateMachine {
    told: Arc<Mutex<Told>>,
    machine: Shared,
    place: Place,
    progress: Arc<watch::Sender<Applied>>,
    digests: Digests,
}

impl StateMachine {
    /// Wraps a machine of a replica.
    #[must_use]
    pub fn new(machine: Shared, place: Place, progress: Arc<watch::Sender<Applied>>, digests: Digests) -> Self {
        let told = Arc::new(Mutex::new(machine.lock().applied()));
        Self { told, machine, place, progress, digests }
    }

    async fn apply_slice(&self, slice: Vec<(Entry, Option<ApplyResponder<TypeConfig>>)>) -> io::Result<()> {
        let (mut entries, mut responders) = (Vec::with_capacity(slice.len()), Vec::with_capacity(slice.len()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut changes = Vec::new();
        for (entry, responder) in slice {
            told.0 = Some(entry.log_id);
            if let EntryPayload::Membership(m) = &entry.payload {
                // Whoever wrote it waits for the answer; the others only follow.
                if responder.is_some() {
                    changes.push(Change::between(told.1.membership(), m));
                }
                told.1 = StoredMembership::new(Some(entry.log_id), m.clone());
            }
            entries.push(entry);
            responders.push(responder);
        }
        let (known, replies, progress, digests) = self
            .machine
            .with(move |m| {
                // State taken over from another replica may already hold the first entries; nobody here waits for them.
                let done = m.applied().0;
                let known = entries.partition_point(|e| done.is_some_and(|d| e.log_id.index <= d.index));
                let new = entries.get(known..).unwrap_or_default();
                let (mut replies, mut digests) = (Vec::with_capacity(new.len()), Vec::new());
                // However the entries came, all replicas pause at the same marks.
                for part in new.chunk_by(|entry, _| !entry.log_id.index.is_multiple_of(MARK_EVERY)) {
                    replies.extend(m.apply(part)?);
                    digests.push((m.progress().index, m.digest()));
                }
                Ok((known, replies, m.progress(), digests))
            })
            .await?;
        let responders = responders.split_off(known);
        if replies.len() != responders.len() {
            return Err(io::Error::other("the state machine gave another number of replies than entries"));
        }
        self.tell(told);
        digests.into_iter().for_each(|(index, digest)| self.digests.put(index, digest));
        self.progress.send_replace(progress);
        // A joint configuration is applied, and what makes it uniform is not written before it is answered.
        for change in changes {
            failpoint::reach(format_args!("membership-{change}-written"));
        }
        for (responder, reply) in responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    fn tell(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    async fn applied(&self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.machine.with(|m| Ok(m.applied())).await
    }

    /// What is flushed, as far as openraft knows of it.
    async fn persisted(&self) -> io::Result<SnapshotMetaOf<TypeConfig>> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let flushed = self.machine.with(|m| m.persisted()).await?;
        let (last_log_id, last_membership) = if flushed.0 > told.0 { told } else { flushed };
        Ok(SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership })
    }

    fn snapshot(&self, meta: SnapshotMetaOf<TypeConfig>) -> SnapshotOf<TypeConfig, CatchUpFrom> {
        let from = CatchUpFrom { node: self.place.node, replica: self.place.key.replica };
        SnapshotOf::<TypeConfig, CatchUpFrom> { meta, snapshot: from }
    }

    /// One try to take over the state of `from`.
    async fn fetch(&self, from: &CatchUpFrom) -> Result<(), FetchError> {
        let point = self.machine.with(|m| Ok(m.catch_up_point())).await?;
        let request = CatchUpRequest {
            group: self.place.key.group.get(),
            from_replica: self.place.key.replica.get(),
            to_replica: from.replica.get(),
            next_position: point.next_position,
            digest: point.digest.0.to_vec().into(),
            cluster_id: self.place.cluster.to_bytes().to_vec().into(),
            to_node: from.node.get(),
        };
        let mut chunks = self.place.transport.catch_up(from.node, request).await?;
        self.machine.with(|m| m.begin_install()).await?;
        let taken = self.take(&mut chunks).await;
        if let Err(FetchError::Peer(_) | FetchError::Broken(_)) = taken {
            self.machine.with(|m| m.abort_install()).await?;
        }
        taken
    }

    /// Takes chunks until the last one has made the new state current.
    async fn take(&self, chunks: &mut mpsc::Receiver<Result<CatchUpChunk, CallError>>) -> Result<(), FetchError> {
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let last = !chunk.group_meta.is_empty();
            self.machine
                .with(move |m| {
                    m.install(chunk)?;
                    if last { m.finish_install() } else { Ok(()) }
                })
                .await
                .map_err(FetchError::of_a_chunk)?;
            if last {
                return Ok(());
            }
        }
        Err(FetchError::Peer(CallError::NoAnswer("the stream of state ended early".into())))
    }

    /// Whom to ask at the n-th try: the source first, then the other voters in turn, so that one replica that cannot give
    /// its state does not hold this one up.
    fn source(&self, membership: &StoredMembership, first: &CatchUpFrom, failed: usize) -> CatchUpFrom {
        let source = self.place.source.borrow().clone().unwrap_or_else(|| first.clone());
        let own = self.place.key.replica.get();
        let others = membership.voter_ids().filter(|id| *id != own && *id != source.replica.get());
        let others: BTreeSet<u64> = others.collect();
        let other = (failed % (others.len() + 1)).checked_sub(1).and_then(|n| others.into_iter().nth(n));
        let host = other.and_then(|id| Some((id, membership.membership().get_node(&id)?)));
        host.map_or(source, |(id, host)| CatchUpFrom { node: host.0, replica: ReplicaId::new(id) })
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `Interrupted` when the replica stops.
    async fn pause(&self, failed: usize) -> io::Result<()> {
        let doubled = CATCH_UP_RETRY * 2_u32.saturating_pow(u32::try_from(failed).unwrap_or(u32::MAX).min(10));
        tokio::select! {
            biased;
            () = self.place.stop.cancelled() => Err(stopping()),
            () = tokio::time::sleep(doubled.min(CATCH_UP_RETRY_MAX)) => Ok(()),
        }
    }
}

fn stopping() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the replica is stopping")
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// Our own storage failed, or the replica stops.
    #[error(transparent)]
    Local(#[from] io::Error),
    /// The source was lost or said no.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// What the source sent does not decode, does not fit together, or is of a version that we do not know.
    #[error("what came cannot be taken over: {0}")]
    Broken(#[source] io::Error),
}

impl FetchError {
    /// Of an error while a chunk was taken: only what our own storage says is about us.
    fn of_a_chunk(e: io::Error) -> Self {
        if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Unsupported) {
            Self::Broken(e)
        } else {
            Self::Local(e)
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = CatchUpFrom;
    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, CatchUpFrom>, io::Error> {
        self.machine.with(|m| m.flush()).await?;
        Ok(self.snapshot(self.persisted().await?))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = CatchUpFrom;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.applied().await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut slices = entries.ready_chunks(APPLY_ENTRIES_MAX);
        while let Some(slice) = slices.next().await {
            let slice = slice.into_iter().collect::<Result<Vec<_>, _>>()?;
            self.apply_slice(slice).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    /// Fetches the state of `from` in chunks until it is whole. A source that is lost or sends what cannot be taken over is
    /// asked again, and the other voters in turn; `stop` ends this replica's wait with the replica.
    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        from: CatchUpFrom,
    ) -> Result<(), io::Error> {
        let mut failed = 0;
        loop {
            let (applied, _) = self.applied().await?;
            if applied >= meta.last_log_id {
                break;
            }
            let source = self.source(&meta.last_membership, &from, failed);
            let fetched = tokio::select! {
                biased;
                () = self.place.stop.cancelled() => return Err(stopping()),
                fetched = self.fetch(&source) => fetched,
            };
            match fetched {
                Ok(()) => {
                    let (applied, progress, digest) =
                        self.machine.with(|m| Ok((m.applied().0, m.progress(), m.digest()))).await?;
                    // A claim of before would fence a replica that is healed.
                    self.digests.begin_anew(progress.index, digest);
                    self.progress.send_replace(progress);
                    if applied >= meta.last_log_id {
                        break;
                    }
                    tracing::debug!(group = %self.place.key.group, from = %source.node, "the source has applied too little");
                }
                Err(FetchError::Local(e)) => return Err(e),
                Err(error @ (FetchError::Peer(_) | FetchError::Broken(_))) => {
                    tracing::warn!(group = %self.place.key.group, from = %source.node, %error, "catch-up interrupted");
                }
            }
            self.pause(failed).await?;
            failed += 1;
        }
        // The new state must survive a crash before openraft drops the log below it.
        self.machine.with(|m| m.flush()).await?;
        self.tell((meta.last_log_id, meta.last_membership.clone()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, CatchUpFrom>>, io::Error> {
        let meta = self.persisted().await?;
        Ok(meta.last_log_id.is_some().then(|| self.snapshot(meta)))
    }
}

#[cfg(test)]
mod tests;
