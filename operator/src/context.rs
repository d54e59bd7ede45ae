//! What every pass shares. One value for each scope (a namespace, or all of them).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use kube::core::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use taffrail_crds::{Cluster, EventStore};

use crate::apply::Writer;
use crate::backoff::Backoffs;
use crate::cluster_views::ClusterViews;
use crate::events::Events;
use crate::metrics::Metrics;
use crate::name_conflict::ConflictWatches;
use crate::node_admin::NodeAdmin;
use crate::status_gate::StatusGate;
use crate::watch::{CacheSync, Guarded};

/// Settings of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Image of Clusters that name none.
    pub node_image: String,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
}

/// What every pass shares.
pub struct Context {
    /// Reads and special writes.
    pub client: Client,
    /// Writes of owned objects.
    pub writer: Writer,
    /// Calls to nodes.
    pub admin: NodeAdmin,
    /// Streams of views.
    pub cluster_views: ClusterViews,
    /// Waits for names that something else has.
    pub conflict_watches: ConflictWatches,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
    /// Failures by object.
    pub backoffs: Backoffs,
    /// Limits of status writes.
    pub gate: Arc<StatusGate>,
    /// What the watches saw.
    pub caches: Caches,
    /// Settings.
    pub options: Options,
}

/// What the watches saw. Good for shape; nothing that disturbs a node is decided by it.
pub struct Caches {
    /// Whether they have seen everything once.
    pub cache_sync: CacheSync,
    /// Clusters.
    pub clusters: Store<Guarded<Cluster>>,
    /// EventStores.
    pub event_stores: Store<Guarded<EventStore>>,
    /// StatefulSets of Clusters.
    pub sets: Store<StatefulSet>,
    /// Node pods.
    pub pods: Store<Pod>,
    /// Volume claims of nodes.
    pub claims: Store<PersistentVolumeClaim>,
    /// ConfigMaps of Clusters.
    pub config_maps: Store<ConfigMap>,
    /// Services of Clusters.
    pub services: Store<Service>,
    /// Services of EventStores.
    pub store_services: Store<Service>,
    /// ServiceAccounts of nodes.
    pub service_accounts: Store<ServiceAccount>,
    /// Roles of nodes.
    pub roles: Store<Role>,
    /// RoleBindings of nodes.
    pub role_bindings: Store<RoleBinding>,
    /// Disruption budgets.
    pub budgets: Store<PodDisruptionBudget>,
}

impl Caches {
    /// The EventStores of a Cluster.
    pub fn stores_of(&self, namespace: &str, cluster: &str) -> Vec<EventStore> {
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
pub fn cached<K>(cache: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    cache.get(&ObjectRef::<K>::new(name).within(namespace))
}
