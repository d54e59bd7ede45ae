//! [`SnapshotFetch`]: takes over the state of another replica of the group, in chunks, until the state is whole.

use super::{
    digests::Digests,
    log::LogKey,
    shared_machine::SharedMachine,
    types::{LogId, SnapshotMeta, StoredMembership},
};
use crate::peer::{CallError, PeerTransport};
use std::{collections::BTreeSet, io, sync::Arc, time::Duration};
use taffrail_core::ids::{ClusterId, NodeId, ReplicaId};
use taffrail_proto::peer::{CatchUpChunk, CatchUpRequest};
use taffrail_store_api::Applied;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Pause after the first failed attempt; it doubles with each further failure up to [`RETRY_MAX`], which also bounds
/// how often a failure is logged.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The source of a snapshot. openraft takes it for the snapshot itself; the receiver fetches the state from it, in
/// chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUpFrom {
    /// The node of the source.
    pub node: NodeId,
    /// The replica of the source.
    pub replica: ReplicaId,
}

/// Identity of a replica and its way to the other replicas of the group.
#[derive(Clone)]
pub struct ReplicaContext {
    /// Group and replica.
    pub key: LogKey,
    /// The cluster, which every request names.
    pub cluster: ClusterId,
    /// The node of the replica.
    pub node: NodeId,
    /// Carries requests to peers.
    pub transport: Arc<dyn PeerTransport>,
    /// Ends every wait of the replica.
    pub stop: CancellationToken,
    /// The replica whose state to take over: the current leader, or the last replica that began a catch-up.
    pub source: watch::Receiver<Option<CatchUpFrom>>,
}

/// Takes over the state of another replica. Readers of `progress` and `digests` see the new state as soon as it is
/// current.
#[derive(Clone)]
pub struct SnapshotFetch {
    /// Receives the chunks.
    pub machine: SharedMachine,
    /// Identity of this replica and its way to the others.
    pub context: ReplicaContext,
    /// Told how far the replica has applied.
    pub progress: Arc<watch::Sender<Applied>>,
    /// Digests of the replica; those of the replaced state are dropped.
    pub digests: Digests,
}

impl SnapshotFetch {
    /// Fetches state in chunks until this replica has applied at least `meta.last_log_id`. A source that is lost or
    /// sends a chunk that cannot be taken over is asked again, and the other voters of `meta` in turn.
    ///
    /// # Errors
    /// `Interrupted` when the replica stops; otherwise the error of this replica's own storage.
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

    /// Tells readers about the new state; returns the log id that it has applied.
    async fn publish(&self) -> io::Result<Option<LogId>> {
        let (applied, progress, digest) = self.machine.with(|m| Ok((m.applied().0, m.progress(), m.digest()))).await?;
        // A divergence claim about the replaced state would fence a replica that is healed.
        self.digests.begin_anew(progress.index, digest);
        self.progress.send_replace(progress);
        Ok(applied)
    }

    /// One attempt to take over the state of `from`.
    async fn fetch(&self, from: &CatchUpFrom) -> Result<(), FetchError> {
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
        let mut chunks = self.context.transport.catch_up(from.node, request).await?;
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

    /// Chooses the replica to ask after `failed` attempts: the source first, then the other voters in turn, so that a
    /// replica that cannot send its state does not hold this replica up.
    fn source(&self, membership: &StoredMembership, first: &CatchUpFrom, failed: usize) -> CatchUpFrom {
        let source = self.context.source.borrow().clone().unwrap_or_else(|| first.clone());
        let own = self.context.key.replica.get();
        let others = membership.voter_ids().filter(|id| *id != own && *id != source.replica.get());
        let others: BTreeSet<u64> = others.collect();
        let other = (failed % (others.len() + 1)).checked_sub(1).and_then(|n| others.into_iter().nth(n));
        let host = other.and_then(|id| Some((id, membership.membership().get_node(&id)?)));
        host.map_or(source, |(id, host)| CatchUpFrom { node: host.0, replica: ReplicaId::new(id) })
    }

    /// Waits before the next attempt.
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

fn stopping() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "the catch-up ended: the replica is stopping")
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// This replica's own storage failed, or the replica stops.
    #[error(transparent)]
    Local(#[from] io::Error),
    /// The source was lost or refused.
    #[error(transparent)]
    Peer(#[from] CallError),
    /// A chunk does not decode, does not follow from the chunks before it, or is of an unknown version.
    #[error("the chunk of the source cannot be taken over: {0}")]
    Broken(#[source] io::Error),
}

impl FetchError {
    /// Classifies an error of taking a chunk: only an error of this replica's own storage is local.
    fn of_a_chunk(e: io::Error) -> Self {
        if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Unsupported) {
            Self::Broken(e)
        } else {
            Self::Local(e)
        }
    }
}
