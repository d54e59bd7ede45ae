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
use crate::controllers::publish::StatusGate;
use crate::events::Events;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::node_admin::NodeAdmin;
use crate::watch::Guarded;

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
    pub hub: Hub,
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

/// A first list that takes longer is worth a word.
const SLOW_CACHE: std::time::Duration = std::time::Duration::from_secs(10);

impl Caches {
    /// How many there are.
    pub const COUNT: usize = 12;

    /// Waits until each has seen its first full list.
    pub async fn filled(&self) {
        // An error means that the watch ended, which happens only when the process stops.
        macro_rules! fill {
            ($($cache:ident),*) => {$(
                let ready = self.$cache.wait_until_ready();
                tokio::pin!(ready);
                while tokio::time::timeout(SLOW_CACHE, &mut ready).await.is_err() {
                    tracing::warn!(cache = stringify!($cache), "still waiting for the first list");
                }
            )*};
        }
        fill!(
            clusters,
            event_stores,
            sets,
            pods,
            claims,
            config_maps,
            services,
            store_services,
            service_accounts,
            roles,
            role_bindings,
            budgets
        );
    }

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
