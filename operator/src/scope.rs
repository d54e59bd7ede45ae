//! Controllers of a scope (a namespace, or all namespaces): the watches, the context, and a task for each of
//! the two controllers.

use crate::{
    apply::Writer,
    backoff::Backoffs,
    cluster_views::ClusterViews,
    context::{Context, Options},
    controllers::{
        cluster, event_store,
        reconcile_frame::{self, Reconciled},
    },
    error,
    events::Events,
    health::Health,
    metrics::Metrics,
    name_conflict::ConflictWatches,
    node_admin::NodeAdmin,
    status_gate::StatusGate,
    triggers::Triggers,
    watch::Guarded,
    watches::{ClusterTriggers, StoreTriggers, Watches},
};
use futures::{Stream, StreamExt};
use kube::{
    Client, ResourceExt,
    runtime::{
        controller::{self, Config, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use std::{sync::Arc, time::Duration};
use taffrail_crds::{Cluster, EventStore};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// Maximum number of concurrent reconciles of a kind.
const CONCURRENCY: u16 = 16;
/// Window in which several triggers of an object lead to a single reconcile.
const DEBOUNCE: Duration = Duration::from_millis(50);
const TRIGGERS_MAX: usize = 1024;

/// Handles shared by all scopes.
pub(crate) struct ProcessHandles {
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
    pub(crate) admin: NodeAdmin,
    pub(crate) gate: Arc<StatusGate>,
    pub(crate) options: Options,
}

/// Starts both controllers for a namespace, or for all namespaces. The tasks end when `stop` is cancelled.
#[expect(clippy::disallowed_methods, reason = "the operator is no node; the owner of `tasks` waits for them")]
pub(crate) fn start(
    process: &ProcessHandles,
    namespace: Option<&str>,
    health: &Health,
    stop: &CancellationToken,
    tasks: &mut JoinSet<String>,
) {
    let Watches { caches, for_clusters, for_stores } = Watches::new(&process.client, namespace, &process.metrics);
    let (to_clusters, cluster_requests) = mpsc::channel(TRIGGERS_MAX);
    let (to_stores, store_requests) = mpsc::channel(TRIGGERS_MAX);
    let triggers = Triggers { clusters: to_clusters, stores: to_stores };
    let context = Arc::new(Context {
        client: process.client.clone(),
        writer: Writer::new(process.client.clone(), process.metrics.clone()),
        admin: process.admin.clone(),
        conflict_watches: ConflictWatches::new(process.client.clone(), triggers.clone()),
        cluster_views: ClusterViews::new(process.admin.clone(), triggers, caches.event_stores.clone()),
        events: process.events.clone(),
        metrics: process.metrics.clone(),
        backoffs: Backoffs::default(),
        gate: process.gate.clone(),
        caches,
        options: process.options.clone(),
    });
    let clusters = cluster_controller(context.clone(), for_clusters, cluster_requests, stop.clone());
    tasks.spawn(named("controller of Clusters", clusters));
    let stores = store_controller(context.clone(), for_stores, store_requests, stop.clone());
    tasks.spawn(named("controller of EventStores", stores));
    tasks.spawn(named("caches", report_synced_caches(context, health.clone(), stop.clone())));
}

/// Runs a task to its end and returns its name.
pub(crate) async fn named(name: &str, task: impl Future<Output = ()>) -> String {
    task.await;
    name.to_owned()
}

/// Reconciles Clusters until `stop` is cancelled.
fn cluster_controller(
    context: Arc<Context>,
    changes: ClusterTriggers,
    requests: mpsc::Receiver<ObjectRef<Guarded<Cluster>>>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let controller = Controller::for_stream(changes.clusters, context.caches.clusters.clone())
        .with_config(config())
        .owns_stream(changes.sets)
        .owns_stream(changes.services)
        .owns_stream(changes.service_accounts)
        .owns_stream(changes.roles)
        .owns_stream(changes.role_bindings)
        .owns_stream(changes.budgets)
        // The identity has no owner, and pods and claims have a different owner.
        .watches_stream(changes.config_maps, cluster_by_label)
        .watches_stream(changes.pods, cluster_by_label)
        .watches_stream(changes.claims, cluster_by_label)
        .watches_stream(changes.event_stores, cluster_of_store)
        .reconcile_on(ReceiverStream::new(requests))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(cluster::reconcile, cluster::error_policy, context.clone());
    drive::<Cluster, _>(context, controller)
}

/// Reconciles EventStores until `stop` is cancelled.
fn store_controller(
    context: Arc<Context>,
    changes: StoreTriggers,
    requests: mpsc::Receiver<ObjectRef<Guarded<EventStore>>>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let known_stores = context.caches.event_stores.clone();
    let controller = Controller::for_stream(changes.event_stores, known_stores.clone())
        .with_config(config())
        .owns_stream(changes.services)
        .watches_stream(changes.clusters, move |cluster: Guarded<Cluster>| {
            let (name, namespace) = (cluster.name_any(), cluster.namespace());
            let stores = known_stores.state().into_iter().filter(move |store| {
                let parsed = store.0.as_ref().ok();
                parsed.is_some_and(|store| {
                    store.metadata.namespace == namespace && store.spec.cluster_ref.name.as_str() == name
                })
            });
            stores.map(|store| ObjectRef::from_obj(store.as_ref())).collect::<Vec<_>>()
        })
        .reconcile_on(ReceiverStream::new(requests))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(event_store::reconcile, event_store::error_policy, context.clone());
    drive::<EventStore, _>(context, controller)
}

fn config() -> Config {
    Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY)
}

fn cluster_by_label<K: ResourceExt>(object: K) -> Option<ObjectRef<Guarded<Cluster>>> {
    let cluster = object.labels().get(taffrail_crds::labels::CLUSTER)?;
    Some(ObjectRef::new(cluster).within(&object.namespace()?))
}

fn cluster_of_store(store: Guarded<EventStore>) -> Option<ObjectRef<Guarded<Cluster>>> {
    let parsed = store.0.ok()?;
    let namespace = parsed.metadata.namespace.unwrap_or_default();
    Some(ObjectRef::new(parsed.spec.cluster_ref.name.as_str()).within(&namespace))
}

/// Runs a controller to completion and counts its errors.
async fn drive<K: Reconciled, S>(context: Arc<Context>, controller: S)
where
    S: Stream<
            Item = Result<(ObjectRef<Guarded<K>>, controller::Action), controller::Error<error::Error, watcher::Error>>,
        > + Send,
{
    let kind = K::kind(&());
    let kind = kind.as_ref();
    let mut controller = std::pin::pin!(controller);
    while let Some(result) = controller.next().await {
        match result {
            Ok(_) => {}
            // Normal after a deletion, and the only sign of the deletion: an object absent from the cache
            // is not reconciled.
            Err(controller::Error::ObjectNotFound(object)) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                reconcile_frame::object_gone::<K>(&context, namespace, &object.name, object.extra.uid.as_deref());
            }
            Err(controller::Error::ReconcilerFailed(error, object)) => {
                tracing::warn!(kind, object = %object, class = error.class().as_str(), %error, "reconcile failed");
            }
            Err(error) => {
                context.metrics.queue_error(kind);
                tracing::warn!(kind, %error, "the work queue failed");
            }
        }
    }
}

/// Informs the readiness probe once every cache of the scope has its first list, then waits for the stop.
async fn report_synced_caches(context: Arc<Context>, health: Health, stop: CancellationToken) {
    tokio::select! {
        () = context.caches.cache_sync.all_synced() => health.cache_filled(),
        () = stop.cancelled() => return,
    }
    stop.cancelled().await;
}
