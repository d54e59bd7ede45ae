//! All watches of a scope (a namespace, or all namespaces): the caches filled by the watches, and the streams of
//! changed objects that trigger the two controllers.

use crate::{
    context::Caches,
    metrics::Metrics,
    watch::{CacheSync, Guarded, api, follow, follow_changes},
};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::StatefulSet,
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Client, Resource,
    runtime::{
        reflector::{self, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
};
use taffrail_crds::{
    Cluster, EventStore,
    labels::{COMPONENT, MANAGED_BY, MANAGED_BY_OPERATOR, STORE},
};

/// Changed objects of a kind. Errors of the watch were logged and dropped.
pub(crate) type Changes<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// Watches of a scope. No request is sent before a stream is polled.
pub(crate) struct Watches {
    pub(crate) caches: Caches,
    pub(crate) for_clusters: ClusterTriggers,
    pub(crate) for_stores: StoreTriggers,
}

/// Triggers of the controller of Clusters.
pub(crate) struct ClusterTriggers {
    pub(crate) clusters: Changes<Guarded<Cluster>>,
    pub(crate) event_stores: Changes<Guarded<EventStore>>,
    pub(crate) sets: Changes<StatefulSet>,
    pub(crate) pods: Changes<Pod>,
    pub(crate) claims: Changes<PersistentVolumeClaim>,
    pub(crate) config_maps: Changes<ConfigMap>,
    pub(crate) services: Changes<Service>,
    pub(crate) service_accounts: Changes<ServiceAccount>,
    pub(crate) roles: Changes<Role>,
    pub(crate) role_bindings: Changes<RoleBinding>,
    pub(crate) budgets: Changes<PodDisruptionBudget>,
}

/// Triggers of the controller of EventStores.
pub(crate) struct StoreTriggers {
    pub(crate) event_stores: Changes<Guarded<EventStore>>,
    pub(crate) clusters: Changes<Guarded<Cluster>>,
    pub(crate) services: Changes<Service>,
}

impl Watches {
    /// Prepares the watches of a namespace, or of all namespaces.
    pub(crate) fn new(client: &Client, namespace: Option<&str>, metrics: &Metrics) -> Self {
        let watcher = Watcher { client, namespace, metrics, cache_sync: CacheSync::default() };
        let (clusters, cluster_changes) =
            watcher.changes("Cluster", |cluster| fingerprint(cluster, cluster_status_is_empty(cluster)));
        let (event_stores, store_changes) =
            watcher.changes("EventStore", |store| fingerprint(store, store_status_is_empty(store)));
        // Each controller needs the other kind as a trigger, and a watch feeds a single stream, so both kinds
        // are watched twice.
        let (_, store_shapes) = watcher.changes("EventStore", |store: &Guarded<EventStore>| fingerprint(store, false));
        let (_, cluster_shapes) = watcher.changes("Cluster", |cluster: &Guarded<Cluster>| fingerprint(cluster, false));
        let (_, set_changes) = watcher.all("apps::StatefulSet", objects_of_clusters());
        let (_, pod_changes) = watcher.all("core::Pod", objects_of_clusters());
        let (claims, claim_changes) = watcher.all("core::PersistentVolumeClaim", objects_of_clusters());
        let (config_maps, map_changes) = watcher.all("core::ConfigMap", objects_of_clusters());
        let (services, service_changes) = watcher.all("core::Service", objects_of_clusters());
        let (store_services, store_service_changes) = watcher.all("core::Service", objects_of_stores());
        let (service_accounts, account_changes) = watcher.all("core::ServiceAccount", objects_of_clusters());
        let (roles, role_changes) = watcher.all("rbac::Role", objects_of_clusters());
        let (role_bindings, binding_changes) = watcher.all("rbac::RoleBinding", objects_of_clusters());
        let (budgets, budget_changes) = watcher.all("policy::PodDisruptionBudget", objects_of_clusters());
        Self {
            for_clusters: ClusterTriggers {
                clusters: cluster_changes,
                event_stores: store_shapes,
                sets: set_changes,
                pods: pod_changes,
                claims: claim_changes,
                config_maps: map_changes,
                services: service_changes,
                service_accounts: account_changes,
                roles: role_changes,
                role_bindings: binding_changes,
                budgets: budget_changes,
            },
            for_stores: StoreTriggers {
                event_stores: store_changes,
                clusters: cluster_shapes,
                services: store_service_changes,
            },
            caches: Caches {
                cache_sync: watcher.cache_sync,
                clusters,
                event_stores,
                claims,
                config_maps,
                services,
                store_services,
                service_accounts,
                roles,
                role_bindings,
                budgets,
            },
        }
    }
}

/// Selects the objects of Clusters. Objects of EventStores have no component label.
fn objects_of_clusters() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_OPERATOR},{COMPONENT}=node"))
}

/// Selects the objects of EventStores.
fn objects_of_stores() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_OPERATOR},{STORE}"))
}

/// Factory of watches that report under `name` to the metrics and to the log.
struct Watcher<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    metrics: &'a Metrics,
    cache_sync: CacheSync,
}

impl Watcher<'_> {
    /// Watches the selected objects and passes on every change.
    fn all<K>(&self, name: &'static str, selector: watcher::Config) -> (Store<K>, Changes<K>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (cache, writer) = reflector::store();
        let api = api(self.client, self.namespace);
        let stream = follow(api, selector, writer, name, self.metrics.clone(), self.cache_sync.clone());
        (cache, stream.boxed())
    }

    /// Watches all objects of a kind and passes on changes of the fingerprint only.
    fn changes<K>(&self, name: &'static str, fingerprint: impl Fn(&K) -> u64 + Send + 'static) -> (Store<K>, Changes<K>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (cache, writer) = reflector::store();
        let api = api(self.client, self.namespace);
        let stream = follow_changes(api, writer, name, self.metrics.clone(), self.cache_sync.clone(), fingerprint);
        (cache, stream.boxed())
    }
}

/// Hashes the parts of a Cluster or EventStore that call for a reconcile: everything except the status, unless somebody
/// emptied the status.
fn fingerprint<K: Resource>(object: &K, status_is_empty: bool) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, &meta.finalizers, &meta.labels, &meta.annotations).hash(&mut hasher);
    (meta.deletion_timestamp.is_some(), status_is_empty).hash(&mut hasher);
    hasher.finish()
}

fn cluster_status_is_empty(cluster: &Guarded<Cluster>) -> bool {
    cluster.0.as_ref().is_ok_and(|cluster| cluster.status.as_ref().is_none_or(|status| status.conditions.is_empty()))
}

fn store_status_is_empty(store: &Guarded<EventStore>) -> bool {
    store.0.as_ref().is_ok_and(|store| store.status.as_ref().is_none_or(|status| status.conditions.is_empty()))
}
