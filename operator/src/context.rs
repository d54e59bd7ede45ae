//! What every pass shares. One value for each scope (a namespace, or all of them).

use crate::{
    apply::Writer,
    backoff::Backoffs,
    cluster_views::ClusterViews,
    events::Events,
    metrics::Metrics,
    name_conflict::ConflictWatches,
    node_admin::NodeAdmin,
    status_gate::StatusGate,
    watch::{CacheSync, Guarded},
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Client,
    core::Resource,
    runtime::reflector::{ObjectRef, Store},
};
use std::sync::Arc;
use taffrail_crds::{Cluster, EventStore};

/// Settings of the process.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Image of Clusters that name none.
    pub(crate) node_image: String,
    /// DNS domain of the Kubernetes cluster.
    pub(crate) cluster_domain: String,
}

/// What every pass shares.
pub(crate) struct Context {
    /// Reads and special writes.
    pub(crate) client: Client,
    /// Writes of owned objects.
    pub(crate) writer: Writer,
    /// Calls to nodes.
    pub(crate) admin: NodeAdmin,
    /// Streams of views.
    pub(crate) cluster_views: ClusterViews,
    /// Waits for names that something else has.
    pub(crate) conflict_watches: ConflictWatches,
    /// Events.
    pub(crate) events: Events,
    /// Metrics.
    pub(crate) metrics: Metrics,
    /// Failures by object.
    pub(crate) backoffs: Backoffs,
    /// Limits of status writes.
    pub(crate) gate: Arc<StatusGate>,
    /// What the watches saw.
    pub(crate) caches: Caches,
    /// Settings.
    pub(crate) options: Options,
}

/// What the watches saw. Good for shape; nothing that disturbs a node is decided by it.
pub(crate) struct Caches {
    /// Whether they have seen everything once.
    pub(crate) cache_sync: CacheSync,
    /// Clusters.
    pub(crate) clusters: Store<Guarded<Cluster>>,
    /// EventStores.
    pub(crate) event_stores: Store<Guarded<EventStore>>,
    /// Volume claims of nodes.
    pub(crate) claims: Store<PersistentVolumeClaim>,
    /// ConfigMaps of Clusters.
    pub(crate) config_maps: Store<ConfigMap>,
    /// Services of Clusters.
    pub(crate) services: Store<Service>,
    /// Services of EventStores.
    pub(crate) store_services: Store<Service>,
    /// ServiceAccounts of nodes.
    pub(crate) service_accounts: Store<ServiceAccount>,
    /// Roles of nodes.
    pub(crate) roles: Store<Role>,
    /// RoleBindings of nodes.
    pub(crate) role_bindings: Store<RoleBinding>,
    /// Disruption budgets.
    pub(crate) budgets: Store<PodDisruptionBudget>,
}

impl Caches {
    /// The EventStores of a Cluster.
    pub(crate) fn stores_of(&self, namespace: &str, cluster: &str) -> Vec<EventStore> {
        let all = self.event_stores.state().into_iter().filter_map(|store| store.0.as_ref().ok().cloned());
        let mut ours: Vec<EventStore> = all
            .filter(|store| {
                store.metadata.namespace.as_deref() == Some(namespace)
                    && store.spec.cluster_ref.name.as_str() == cluster
            })
            .collect();
        ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        ours
    }
}

/// An object of a cache by name.
pub(crate) fn cached<K>(cache: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    cache.get(&ObjectRef::<K>::new(name).within(namespace))
}
