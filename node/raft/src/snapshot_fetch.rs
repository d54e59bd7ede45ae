//! [`SnapshotFetch`]: installs the state of another replica of the group, chunk by chunk.

use super::{
    catch_up_limits::{CatchUpLimits, STEP_MAX},
    digests::Digests,
    log::LogKey,
    shared_machine::SharedMachine,
    types::{LogId, SnapshotMeta, StoredMembership},
};
use crate::peer::{CallError, PeerTransport};
use bytes::Bytes;
use prost::Message;
use std::{collections::BTreeSet, io, sync::Arc, time::Duration};
use taffrail_core::ids::{ClusterId, GroupId, NodeId, ReplicaId};
use taffrail_proto::{
    peer::{CatchUpChunk, CatchUpRequest},
    storage::{CopiedFrom, GroupMeta},
};
use taffrail_store_api::Applied;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Pause after the first failed attempt. The pause doubles with each further failure up to [`RETRY_MAX`], which also
/// bounds how often a failure is logged.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The source of a snapshot. openraft treats this value as the snapshot itself; the receiver fetches the state from
/// the named replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUpFrom {
    /// Node of the source replica.
    pub node: NodeId,
    /// Replica id of the source.
    pub replica: ReplicaId,
}

/// Identity of a replica, and its connection to the other replicas of the group.
#[derive(Clone)]
pub struct ReplicaContext {
    /// Group and replica id.
    pub key: LogKey,
    /// Id of the cluster, which every request names.
    pub cluster: ClusterId,
    /// Node of the replica.
    pub node: NodeId,
    /// Carries requests to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Ends every wait of the replica.
    pub stop: CancellationToken,
    /// Bounds of the node on the transfers of state.
    pub limits: Arc<CatchUpLimits>,
    /// Replica to fetch state from: the current leader, or the last replica that began a catch-up.
    pub source: watch::Receiver<Option<CatchUpFrom>>,
}

/// Installs the state of another replica. Readers of `progress` and `digests` see the new state as soon as the
/// state is current.
#[derive(Clone)]
pub struct SnapshotFetch {
    /// Receives the chunks.
    pub machine: SharedMachine,
    /// Identity of this replica, and its connection to the other replicas.
    pub context: ReplicaContext,
    /// Receives the progress of the applied state.
    pub progress: Arc<watch::Sender<Applied>>,
    /// Digests of the replica; digests of replaced state are dropped.
    pub digests: Digests,
}

impl SnapshotFetch {
    /// Fetches state in chunks until this replica has applied at least `meta.last_log_id`. If a source is lost or sends
    /// an invalid chunk, further attempts alternate between the source and the other voters of `meta`.
    ///
    /// # Errors
    /// Returns `Interrupted` when the replica stops; otherwise the error of this replica's own storage.
    pub async fn fetch_up_to(&self, meta: &SnapshotMeta, from: &CatchUpFrom) -> io::Result<()> {
        let mut failed = 0;
        while self.machine.with(|m| Ok(m.applied().0)).await? < meta.last_log_id {
            let source = self.source(&meta.last_membership, from, failed);
            let fetched = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => return Err(stopping()),
                fetched = self.fetch(&source) => fetched,
            };
            match fetched {
                Ok(()) => {
                    if self.publish().await? >= meta.last_log_id {
                        break;
                    }
                    tracing::debug!(group = %self.context.key.group, from = %source.node, "the source has applied too little");
                }
                Err(FetchError::Local(e)) => return Err(e),
                Err(error @ (FetchError::Peer(_) | FetchError::Broken(_))) => {
                    tracing::warn!(group = %self.context.key.group, from = %source.node, %error, "catch-up interrupted");
                }
            }
            self.pause(failed).await?;
            failed += 1;
        }
        Ok(())
    }

    /// Publishes the new state to readers and returns its applied log id.
    async fn publish(&self) -> io::Result<Option<LogId>> {
        let state = self.machine.with(|m| Ok((m.applied().0, m.progress(), m.digest(), m.copied_from())));
        let (applied, progress, digest, copied_from) = state.await?;
        // Without the reset, a divergence claim about the replaced state would fence the repaired replica.
        self.digests.begin_anew(progress.index, digest, copied_from);
        self.progress.send_replace(progress);
        Ok(applied)
    }

    /// Attempts once to install the state of `from`.
    pub(super) async fn fetch(&self, from: &CatchUpFrom) -> Result<(), FetchError> {
        // The catalogue is small, and the node needs the catalogue while stores wait for their turns.
        let system = self.context.key.group == GroupId::SYSTEM;
        let _permit = if system { None } else { self.context.limits.install().await };
        let point = self.machine.with(|m| Ok(m.catch_up_point())).await?;
        let request = CatchUpRequest {
            group: self.context.key.group.get(),
            from_replica: self.context.key.replica.get(),
            to_replica: from.replica.get(),
            next_position: point.next_position,
            digest: point.digest.0.to_vec().into(),
            cluster_id: self.context.cluster.to_bytes().to_vec().into(),
            to_node: from.node.get(),
        };
        let opened = self.context.transport.catch_up(from.node, request);
        let mut chunks = tokio::time::timeout(STEP_MAX, opened).await.map_err(|_| late())??;
        self.machine.with(|m| m.begin_install()).await?;
        let taken = self.take(from.replica, &mut chunks).await;
        if let Err(FetchError::Peer(_) | FetchError::Broken(_)) = taken {
            self.machine.with(|m| m.abort_install()).await?;
        }
        taken
    }

    /// Installs chunks until the last chunk has made the new state current.
    async fn take(
        &self,
        from: ReplicaId,
        chunks: &mut mpsc::Receiver<Result<CatchUpChunk, CallError>>,
    ) -> Result<(), FetchError> {
        while let Some(chunk) = tokio::time::timeout(STEP_MAX, chunks.recv()).await.map_err(|_| late())? {
            let mut chunk = chunk?;
            let last = !chunk.group_meta.is_empty();
            if last {
                chunk.group_meta = with_origin(chunk.group_meta, from);
            }
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

    /// Chooses the replica to fetch from after `failed` attempts: the source first, then the other voters in turn, so
    /// that a single faulty source does not block the catch-up.
    fn source(&self, membership: &StoredMembership, first: &CatchUpFrom, failed: usize) -> CatchUpFrom {
        let source = self.context.source.borrow().clone().unwrap_or_else(|| first.clone());
        let own = self.context.key.replica.get();
        let others = membership.voter_ids().filter(|id| *id != own && *id != source.replica.get());
        let others: BTreeSet<u64> = others.collect();
        let other = (failed % (others.len() + 1)).checked_sub(1).and_then(|n| others.into_iter().nth(n));
        let host = other.and_then(|id| Some((id, membership.membership().get_node(&id)?)));
        host.map_or(source, |(id, host)| CatchUpFrom { node: host.0, replica: ReplicaId::new(id) })
    }

    /// Waits before the next attempt, with exponential backoff.
    ///
    /// # Errors
    /// `Interrupted` when the replica stops.
    async fn pause(&self, failed: usize) -> io::Result<()> {
        let doubled = RETRY * 2_u32.saturating_pow(u32::try_from(failed).unwrap_or(u32::MAX).min(10));
        tokio::select! {
            biased;
            () = self.context.stop.cancelled() => Err(stopping()),
            () = tokio::time::sleep(doubled.min(RETRY_MAX)) => Ok(()),
        }
    }
}

/// Adds the sender of a state to the row of the group, so that the origin becomes durable together with the state. Fields
/// of an encoded message that are appended to the message replace the fields before. A row that does not decode is left
/// to the state machine, which refuses the row.
fn with_origin(row: Bytes, from: ReplicaId) -> Bytes {
    let Ok(meta) = GroupMeta::decode(row.clone()) else { return row };
    let index = meta.applied.map_or(0, |applied| applied.index);
    let copied_from = Some(CopiedFrom { replica: from.get(), index });
    let mut row = row.to_vec();
    row.extend(GroupMeta { copied_from, ..GroupMeta::default() }.encode_to_vec());
    row.into()
}

pub(super) fn stopping() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the catch-up ended: the replica is stopping")
}

fn late() -> CallError {
    CallError::NoAnswer(format!("the source sent nothing for {STEP_MAX:?}"))
}

/// Failure of one attempt to fetch state.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// This replica's own storage failed, or the replica is stopping.
    #[error(transparent)]
    Local(#[from] io::Error),
    /// The connection to the source was lost, or the source refused.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// A chunk does not decode, does not follow from the chunks before, or has an unknown version.
    #[error("the chunk of the source cannot be installed: {0}")]
    Broken(#[source] io::Error),
}

impl FetchError {
    /// Classifies an error of installing a chunk: only an error of this replica's own storage is local.
    fn of_a_chunk(e: io::Error) -> Self {
        if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Unsupported) {
            Self::Broken(e)
        } else {
            Self::Local(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_an_installed_state_names_its_sender_and_keeps_every_other_field() {
        let applied = taffrail_proto::storage::LogId { term: 2, leader: 3, index: 41 };
        let earlier = CopiedFrom { replica: 5, index: 7 };
        let theirs = GroupMeta {
            format: 1,
            applied: Some(applied),
            generation: 4,
            copied_from: Some(earlier),
            ..GroupMeta::default()
        };
        let mut row = theirs.encode_to_vec();
        // A field of a later version: number 100, the value 1.
        row.extend([0xa0, 0x06, 0x01]);
        let kept = with_origin(row.clone().into(), ReplicaId::new(9));
        assert!(kept.starts_with(&row), "unknown fields are kept");
        let origin = CopiedFrom { replica: 9, index: 41 };
        assert_eq!(GroupMeta::decode(kept).unwrap(), GroupMeta { copied_from: Some(origin), ..theirs });
        let broken = Bytes::from_static(b"\xff");
        assert_eq!(with_origin(broken.clone(), ReplicaId::new(9)), broken, "the state machine refuses the row");
    }
}
