//! Reads: the Cluster from its cache, the store from the last view of the nodes. Nothing that is decided here takes
//! anything away; what does, reads live.

use kube::ResourceExt;
use taffrail_crds::EventStore;
use taffrail_proto::admin::{ClusterView, StoreView};
use taffrail_proto::v1::StoreState;

use super::plan::{ClusterSeen, Seen};
use crate::context::{Context, cached};

pub(super) fn observe(ctx: &Context, store: &EventStore) -> Seen {
    let namespace = store.namespace().unwrap_or_default();
    let cluster = store.spec.cluster_ref.name.as_str();
    let uid = store.uid().unwrap_or_default();
    let found = cached(&ctx.caches.clusters, &namespace, cluster);
    let sight = ctx.hub.sight(&namespace, cluster);
    let seen = match (&found, &sight) {
        (None, _) => ClusterSeen::Missing,
        (Some(found), None) => {
            let formed =
                found.0.as_ref().ok().and_then(|found| found.status.as_ref()).is_some_and(|s| s.cluster_id.is_some());
            if formed { ClusterSeen::Unreachable } else { ClusterSeen::Unformed }
        }
        (Some(_), Some(sight)) if !sight.live => ClusterSeen::Unreachable,
        (Some(_), Some(_)) => ClusterSeen::Known,
    };
    let view = sight.and_then(|sight| sight.view);
    let nodes = view.iter().flat_map(|view| &view.nodes).filter_map(|node| node.node.as_ref());
    Seen {
        cluster: seen,
        nodes: nodes.map(|node| (node.node_id, node.name.clone())).collect(),
        store: view.as_deref().and_then(|view| declared_by(view, &uid)).cloned(),
    }
}

/// The store of this object, in whatever state it is.
pub(super) fn declared_by<'a>(view: &'a ClusterView, uid: &str) -> Option<&'a StoreView> {
    let ours = view.stores.iter().filter(|view| view.declared_by == uid && view.store.is_some());
    // Should there be an older one of the same object, the one that lives counts.
    ours.max_by_key(|view| {
        view.store.as_ref().is_some_and(|store| matches!(store.state(), StoreState::Creating | StoreState::Active))
    })
}
