//! Reads of a reconcile: the Cluster from the cache, the store from the last view of the nodes. No decision based on
//! [`observe`] takes anything away; irreversible decisions rely on [`read_cluster`].

use super::plan::{ClusterObservation, Observation};
use crate::{
    context::{Context, cached},
    controllers::cluster::{observation::Recorded, observe::recorded_live},
    error::Error,
    watch::Guarded,
};
use kube::{ResourceExt, api::Api};
use taffrail_crds::{Cluster, EventStore};
use taffrail_proto::{
    admin::{ClusterView, StoreView},
    v1::StoreState,
};

pub(super) fn observe(ctx: &Context, store: &EventStore) -> Observation {
    let namespace = store.namespace().unwrap_or_default();
    let cluster = store.spec.cluster_ref.name.as_str();
    let uid = store.uid().unwrap_or_default();
    let found = cached(&ctx.caches.clusters, &namespace, cluster);
    let latest = ctx.cluster_views.observation(&namespace, cluster);
    let observed = match (&found, &latest) {
        (None, _) => ClusterObservation::Missing,
        (Some(found), None) => {
            let formed =
                found.0.as_ref().ok().and_then(|found| found.status.as_ref()).is_some_and(|s| s.cluster_id.is_some());
            if formed { ClusterObservation::Unreachable } else { ClusterObservation::Unformed }
        }
        (Some(_), Some(latest)) if !latest.live => ClusterObservation::Unreachable,
        (Some(_), Some(_)) => ClusterObservation::Known,
    };
    let view = latest.and_then(|latest| latest.view);
    let nodes = view.iter().flat_map(|view| &view.nodes).filter_map(|node| node.node.as_ref());
    Observation {
        cluster: observed,
        nodes: nodes.map(|node| (node.node_id, node.name.clone())).collect(),
        store: view.as_deref().and_then(|view| declared_by(view, &uid)).cloned(),
    }
}

/// Returns whether the Cluster of this store is paused, according to the cache. An unparsable Cluster is not
/// touched either way.
pub(super) fn is_paused(ctx: &Context, store: &EventStore) -> bool {
    let namespace = store.namespace().unwrap_or_default();
    let found = cached(&ctx.caches.clusters, &namespace, store.spec.cluster_ref.name.as_str());
    found.is_some_and(|cluster| cluster.0.as_ref().is_ok_and(|cluster| cluster.spec.paused))
}

/// Current state of the Cluster in the API server, for an irreversible decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveCluster {
    pub(super) cluster: ClusterObservation,
    /// `spec.paused` is set.
    pub(super) paused: bool,
    /// Cluster id of the data: an answer of any other cluster is ignored.
    pub(super) cluster_id: Option<String>,
}

/// Reads the Cluster and its recorded identity live.
pub(super) async fn read_cluster(ctx: &Context, store: &EventStore) -> Result<LiveCluster, Error> {
    let (namespace, name) = (store.namespace().unwrap_or_default(), store.spec.cluster_ref.name.as_str());
    let clusters: Api<Guarded<Cluster>> = Api::namespaced(ctx.client.clone(), &namespace);
    let found = clusters.get_opt(name).await.map_err(Error::api(format!("reading Cluster {name}")))?;
    let unknown = |cluster| LiveCluster { cluster, paused: false, cluster_id: None };
    let Some(found) = found else { return Ok(unknown(ClusterObservation::Missing)) };
    let Ok(found) = found.0 else { return Ok(unknown(ClusterObservation::Unreachable)) };
    let recorded = recorded_live(ctx, &found).await?;
    // The status may have been emptied, and a store may be known only to the nodes: any trace of the store counts.
    let traced = store.status.as_ref().is_some_and(|status| status.store_id.is_some())
        || ctx.cluster_views.observation(&namespace, name).is_some();
    let (cluster, cluster_id) = match recorded {
        Recorded::Nowhere => (ClusterObservation::Unformed, None),
        Recorded::Identity(identity) if !identity.formed && !traced => (ClusterObservation::Unformed, None),
        Recorded::Identity(identity) => (ClusterObservation::Known, Some(identity.cluster_id)),
        // No node is asked until the identity of the nodes is settled.
        Recorded::Annotations(_) | Recorded::Conflict(..) => (ClusterObservation::Unreachable, None),
    };
    Ok(LiveCluster { cluster, paused: found.spec.paused, cluster_id })
}

/// Returns the store declared by the object with this UID, in any state.
pub(super) fn declared_by<'a>(view: &'a ClusterView, uid: &str) -> Option<&'a StoreView> {
    let ours = view.stores.iter().filter(|view| view.declared_by == uid && view.store.is_some());
    // If the object also declared an older store, the live store counts.
    ours.max_by_key(|view| {
        view.store.as_ref().is_some_and(|store| matches!(store.state(), StoreState::Creating | StoreState::Active))
    })
}
