//! Handles shared by all reconciles of a scope (a namespace, or all namespaces).

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

/// Settings from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Node image of Clusters without `spec.image`.
    pub(crate) node_image: String,
    /// DNS domain of the Kubernetes cluster.
    pub(crate) cluster_domain: String,
}

/// Handles shared by all reconciles of a scope.
pub(crate) struct Context {
    /// Client for reads and for writes outside [`Writer`].
    pub(crate) client: Client,
    /// Writer of owned objects.
    pub(crate) writer: Writer,
    /// Client of the nodes' admin port.
    pub(crate) admin: NodeAdmin,
    /// Streams of cluster views.
    pub(crate) cluster_views: ClusterViews,
    /// Watches on objects with a conflicting name.
    pub(crate) conflict_watches: ConflictWatches,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    /// Consecutive failures by object.
    pub(crate) backoffs: Backoffs,
    /// Rate limit of status refreshes.
    pub(crate) gate: Arc<StatusGate>,
    /// Objects seen by the watches.
    pub(crate) caches: Caches,
    pub(crate) options: Options,
}

/// Caches of the watched objects, used to compare and render objects. No decision to disturb a node relies on a cache.
pub(crate) struct Caches {
    /// Caches still without a first full list.
    pub(crate) cache_sync: CacheSync,
    pub(crate) clusters: Store<Guarded<Cluster>>,
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
    pub(crate) budgets: Store<PodDisruptionBudget>,
}

impl Caches {
    /// Returns the EventStores of a Cluster, sorted by name. Objects that do not parse are left out.
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

/// Looks up an object in a cache by namespace and name.
pub(crate) fn cached<K>(cache: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    cache.get(&ObjectRef::<K>::new(name).within(namespace))
}
