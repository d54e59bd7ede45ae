//! Adapts a [`Machine`](super::machine::Machine) to openraft's traits.
//!
//! - Only flushed state is called a snapshot, because openraft purges the log up to a snapshot.
//! - Another replica's state is installed inside `install_snapshot`, so no entry is applied meanwhile. The installed
//!   state may be newer than the log id of the snapshot; entries up to the applied index are skipped.
//! - No snapshot names a log id above the applied log id that openraft knows ([`KnownToOpenraft`]): openraft would purge its log
//!   beyond the last entry.

use super::{
    digests::{Digests, MARK_EVERY},
    membership::Change,
    shared_machine::SharedMachine,
    snapshot_fetch::{CatchUpFrom, ReplicaContext, SnapshotFetch},
    types::{Entry, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig},
};
use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    alias::SnapshotOf,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};
use taffrail_runtime::{failpoint, planted_defect::is_planted};
use taffrail_store_api::Applied;
use tokio::sync::watch;

/// Maximum number of entries in a single write.
const APPLY_ENTRIES_MAX: usize = 1024;

/// openraft's handle of a replica.
pub(super) type Raft = openraft::Raft<TypeConfig, StateMachine>;
/// A snapshot: names the replica to fetch state from instead of carrying the state.
pub(super) type Snapshot = SnapshotOf<TypeConfig, CatchUpFrom>;

/// Applied log id of this replica as known to openraft, and the membership as of this log id.
pub(super) type KnownToOpenraft = (Option<LogId>, StoredMembership);

/// The state machine of a replica, driven by openraft. Cheap to clone: all clones share the state.
#[derive(Clone)]
pub(super) struct StateMachine {
    known_to_openraft: Arc<Mutex<KnownToOpenraft>>,
    machine: SharedMachine,
    progress: Arc<watch::Sender<Applied>>,
    digests: Digests,
    fetch: SnapshotFetch,
}

impl StateMachine {
    /// Wraps the machine of the replica that `context` names. `applied` is the applied state of the machine.
    pub(super) fn new(
        machine: SharedMachine,
        applied: KnownToOpenraft,
        context: ReplicaContext,
        progress: Arc<watch::Sender<Applied>>,
        digests: Digests,
    ) -> Self {
        let known_to_openraft = Arc::new(Mutex::new(applied));
        let fetch = SnapshotFetch {
            machine: machine.clone(),
            context,
            progress: Arc::clone(&progress),
            digests: digests.clone(),
        };
        Self { known_to_openraft, machine, progress, digests, fetch }
    }

    async fn apply_slice(&self, slice: Vec<(Entry, Option<ApplyResponder<TypeConfig>>)>) -> io::Result<()> {
        let (mut entries, mut responders) = (Vec::with_capacity(slice.len()), Vec::with_capacity(slice.len()));
        let mut known_to_openraft = self.known_to_openraft.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut changes = Vec::new();
        for (entry, responder) in slice {
            known_to_openraft.0 = Some(entry.log_id);
            if let Payload::Membership(m) = &entry.payload {
                // Only the leader has a responder for the entry, because the leader proposed the entry.
                if responder.is_some() {
                    changes.push(Change::between(known_to_openraft.1.membership(), m));
                }
                known_to_openraft.1 = StoredMembership::new(Some(entry.log_id), m.clone());
            }
            entries.push(entry);
            responders.push(responder);
        }
        let (known, replies, progress, digests) = self
            .machine
            .with(move |m| {
                // State installed from another replica may already contain the first entries; no caller waits
                // for these entries.
                let done = m.applied().0;
                let known = entries.partition_point(|e| done.is_some_and(|d| e.log_id.index <= d.index));
                let new = entries.get(known..).unwrap_or_default();
                let (mut replies, mut digests) = (Vec::with_capacity(new.len()), Vec::new());
                // All replicas take digests at the same indexes, however the entries are batched.
                for part in new.chunk_by(|entry, _| !entry.log_id.index.is_multiple_of(MARK_EVERY)) {
                    replies.extend(m.apply(part)?);
                    digests.push((m.progress().index, m.digest()));
                }
                Ok((known, replies, m.progress(), digests))
            })
            .await?;
        let responders = responders.split_off(known);
        if replies.len() != responders.len() {
            return Err(io::Error::other(
                "the state machine returned a number of replies that differs from the number of entries",
            ));
        }
        self.set_known(known_to_openraft);
        digests.into_iter().for_each(|(index, digest)| self.digests.put(index, digest));
        self.progress.send_replace(progress);
        // The joint configuration is applied at this point, and the uniform configuration is not written before
        // the responder answers.
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

    fn set_known(&self, known_to_openraft: KnownToOpenraft) {
        *self.known_to_openraft.lock().unwrap_or_else(PoisonError::into_inner) = known_to_openraft;
    }

    async fn applied(&self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.machine.with(|m| Ok(m.applied())).await
    }

    /// Returns the flushed state, or the applied state known to openraft if the flushed state is newer.
    async fn persisted(&self) -> io::Result<SnapshotMeta> {
        let known_to_openraft = self.known_to_openraft.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let flushed = self.machine.with(|m| m.persisted()).await?;
        let newer = flushed.0 > known_to_openraft.0 && !is_planted("unclamped-snapshot");
        if newer {
            failpoint::reach("snapshot-bounded");
        }
        let (last_log_id, last_membership) = if newer { known_to_openraft } else { flushed };
        Ok(SnapshotMeta { last_log_id, last_membership })
    }

    fn snapshot(&self, meta: SnapshotMeta) -> Snapshot {
        let from = CatchUpFrom { node: self.fetch.context.node, replica: self.fetch.context.key.replica };
        Snapshot { meta, snapshot: from }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = CatchUpFrom;
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        if is_planted("purge-before-flush") {
            let (last_log_id, last_membership) = self.applied().await?;
            return Ok(self.snapshot(SnapshotMeta { last_log_id, last_membership }));
        }
        self.machine.flush().await?;
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

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, from: CatchUpFrom) -> Result<(), io::Error> {
        self.fetch.fetch_up_to(meta, &from).await?;
        // The new state must survive a crash before openraft drops the replaced part of the log.
        self.machine.flush().await?;
        self.set_known((meta.last_log_id, meta.last_membership.clone()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let meta = self.persisted().await?;
        Ok(meta.last_log_id.is_some().then(|| self.snapshot(meta)))
    }
}

#[cfg(test)]
mod tests;
