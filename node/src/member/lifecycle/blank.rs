//! First state of the lifecycle: a disk without a cluster, or a disk whose bootstrap was interrupted.

use super::{ATTEMPT_TIMEOUT, End, FIRST, LifecycleRequest, common::Common, failed, joining::Joining, member::Serving};
use crate::{config::Discovery, member::readiness::Readiness};
use std::collections::BTreeMap;
use taffrail_core::{
    catalogue::{CatalogueOutcome, Kind},
    ids::{ClusterId, NodeId, ReplicaId},
};
use taffrail_runtime as rt;
use tokio::time::Instant;

/// A disk without a cluster, which waits for a `Bootstrap` or `Join` request.
pub(super) struct Blank {
    common: Common,
    /// The cluster whose bootstrap was interrupted; `None` for a blank disk.
    interrupted: Option<ClusterId>,
}

/// The state after [`Blank`].
pub(super) enum Next {
    /// A `Join` request named the cluster.
    Joining(Joining),
    /// The node is the first member of a new cluster.
    Serving(Serving),
}

impl Blank {
    /// Creates the state of a disk without a cluster.
    pub(super) fn new(common: Common) -> Self {
        Self { common, interrupted: None }
    }

    /// Creates the state of a disk whose marker shows a bootstrap of `cluster` that has begun and not ended.
    pub(super) fn interrupted(common: Common, cluster: ClusterId) -> Self {
        Self { common, interrupted: Some(cluster) }
    }

    /// Waits for a request, or bootstraps at once: with discovery `single`, and after an interrupted bootstrap.
    pub(super) async fn run(mut self) -> Result<Next, End> {
        self.common.publish_identity();
        if let Some(cluster) = self.interrupted {
            return self.bootstrap(cluster).await.map(Next::Serving);
        }
        if self.common.handles.config.discovery == Discovery::Single {
            return self.bootstrap(ClusterId::new(rt::new_uuid())).await.map(Next::Serving);
        }
        self.common.handles.readiness.send_replace(Readiness::WaitingForCluster);
        match self.common.requests.recv().await {
            Some(LifecycleRequest::Bootstrap(cluster, answer)) => {
                let done = self.bootstrap(cluster).await;
                // A caller that has given up repeats the request, and the repeated request finds the bootstrap done.
                drop(answer.send(done.as_ref().map(|_| FIRST).map_err(|e| e.why.clone())));
                done.map(Next::Serving)
            }
            Some(LifecycleRequest::Join(cluster, answer)) => {
                let done = self.common.dir.set_cluster(cluster);
                drop(answer.send(done.as_ref().copied().map_err(ToString::to_string)));
                done?;
                Ok(Next::Joining(Joining::new(self.common, cluster)))
            }
            None => {
                Err(failed("the admin service ended before a bootstrap or join request named the cluster of this node"))
            }
        }
    }

    /// Makes a new cluster in three steps: the marker on the disk, the system group with a single voter, the first
    /// command. A crash may interrupt any step, and every step can be repeated.
    async fn bootstrap(mut self, cluster: ClusterId) -> Result<Serving, End> {
        self.common.dir.begin_bootstrap(cluster, FIRST)?;
        self.common.publish_identity();
        let member = self.common.start_member(cluster, FIRST).await?;
        let first: BTreeMap<ReplicaId, NodeId> = [(ReplicaId::new(FIRST.get()), FIRST)].into();
        member.system.initialize(&first).await.map_err(failed)?;
        let init = Kind::Init { cluster, first: self.common.registration() };
        loop {
            match member.propose(init.clone(), Instant::now() + ATTEMPT_TIMEOUT).await {
                Ok(CatalogueOutcome::Node(node)) if node == FIRST => break,
                Ok(other) => {
                    return Err(failed(format!(
                        "bootstrap of cluster {cluster}: unexpected outcome of the first command: {other:?}"
                    )));
                }
                Err(error) => tracing::warn!(%error, "the first command of the cluster failed and is proposed again"),
            }
        }
        self.common.dir.end_bootstrap()?;
        Ok(Serving::started(self.common, member))
    }
}
