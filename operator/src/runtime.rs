//! Builds everything and runs it: two controllers for each scope, the HTTP port, one shutdown for all.
//!
//! There is one replica and no lease yet. Its seam is [`run`]: with a lease, the controllers start when it is held, and
//! the process ends when it is lost. Safety does not rest on it: what disturbs a node needs a grant of the coordinator.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use taffrail_crds::{Cluster, EventStore};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::apply::Writer;
use crate::args::{LogFormat, Logging, RunArgs};
use crate::backoff::Backoffs;
use crate::cluster_views::ClusterViews;
use crate::context::{CacheSync, Caches, Context, Options};
use crate::controllers::publish::StatusGate;
use crate::controllers::reconcile_frame::{self, Reconciled};
use crate::controllers::{cluster, event_store};
use crate::events::Events;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::name_conflict::ConflictWatches;
use crate::node_admin::NodeAdmin;
use crate::triggers::Triggers;
use crate::watch::{Guarded, api, follow, follow_changes};
use crate::{cluster_domain, error};

/// Passes at once, for each kind.
const CONCURRENCY: u16 = 16;
/// Triggers within this time are one pass.
const DEBOUNCE: Duration = Duration::from_millis(50);
const TRIGGERS_MAX: usize = 1024;
/// No request may hang: one that is longer than this is a watch, which sends something more often.
const READ_TIMEOUT: Duration = Duration::from_secs(320);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KINDS_AGAIN: Duration = Duration::from_secs(2);
const GROUP_VERSION: &str = "taffrail.io/v1alpha1";

/// The operator cannot start, or a part of it ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the API server.
    #[error("no access to a Kubernetes API server: {0}")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The client cannot be built.
    #[error("the Kubernetes client cannot be built: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The port of metrics and probes cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two metrics have one name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Signals cannot be received.
    #[error("signals: {0}")]
    Signal(#[source] std::io::Error),
    /// A task that runs for ever ended.
    #[error("a task of the operator ended: {0}")]
    Ended(String),
}

/// Installs the subscriber of the process.
pub fn install_logging(logging: &Logging) {
    let filter = tracing_subscriber::EnvFilter::try_new(&logging.log)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    let installed = match logging.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
        LogFormat::Text => lines.with_writer(std::io::stderr).with_target(false).try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "a subscriber was installed before");
    }
}

/// The client of the API server: nothing hangs, and retries are the business of the backoff of each object.
///
/// # Errors
/// There is no configuration, or it is unusable.
pub async fn client() -> Result<Client, Error> {
    let mut config = kube::Config::infer().await.map_err(|error| Error::Config(Box::new(error)))?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or a part of it ended by itself; a restart is the only clean state then.
#[expect(clippy::disallowed_methods, reason = "the seam is the node's; `run` owns these tasks and waits for them")]
pub async fn run(args: RunArgs) -> Result<(), Error> {
    let client = client().await?;
    let metrics = Metrics::new()?;
    let scopes = args.scopes();
    let options =
        Options { node_image: args.node_image.clone(), cluster_domain: cluster_domain::find(&args.cluster_domain) };
    tracing::info!(?scopes, ?options, version = env!("CARGO_PKG_VERSION"), "starting");
    let health = Health::new(metrics.clone(), scopes.len());
    let address = args.listen;
    let listener = Health::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(named("http", health.clone().serve(listener, stop.clone())));
    let beat = health.clone();
    let beat_stop = stop.clone();
    tasks.spawn(named("heartbeat", async move { beat.beat(beat_stop).await }));
    tasks.spawn(named("signals", signalled(stop.clone())?));

    if kinds_served(&client, &stop).await {
        health.kinds_served();
        let shared = Shared {
            events: Events::new(client.clone()),
            admin: NodeAdmin::new(metrics.clone()),
            gate: Arc::default(),
            client,
            metrics,
            options,
        };
        for namespace in scopes {
            scope(&shared, namespace, &health, &stop, &mut tasks);
        }
    }
    let mut early = None;
    while let Some(ended) = tasks.join_next().await {
        if !stop.is_cancelled() {
            early = Some(ended.unwrap_or_else(|error| error.to_string()));
            stop.cancel();
        }
    }
    tracing::info!("stopped");
    early.map_or(Ok(()), |task| Err(Error::Ended(task)))
}

async fn named(name: &str, task: impl Future<Output = ()>) -> String {
    task.await;
    name.to_owned()
}

/// The future ends the whole process on a signal. A second one is left to the supervisor: the controllers finish a pass
/// within its deadline.
fn signalled(stop: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => return,
        }
        tracing::info!("asked to stop");
        stop.cancel();
    })
}

/// Waits until the API server serves both kinds. False: asked to stop meanwhile.
async fn kinds_served(client: &Client, stop: &CancellationToken) -> bool {
    let mut said = String::new();
    loop {
        let missing = match client.list_api_group_resources(GROUP_VERSION).await {
            Ok(list) => {
                let served: BTreeSet<&str> = list.resources.iter().map(|resource| resource.name.as_str()).collect();
                let missing = ["clusters", "eventstores"].into_iter().find(|kind| !served.contains(kind));
                missing.map(|kind| format!("{kind}.taffrail.io is not served"))
            }
            Err(error) => Some(error.to_string()),
        };
        let Some(missing) = missing else { return true };
        if said != missing {
            tracing::warn!(missing, "waiting for the kinds; the chart taffrail-crds installs them");
            said = missing;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(KINDS_AGAIN) => {}
        }
    }
}

struct Shared {
    client: Client,
    metrics: Metrics,
    events: Events,
    admin: NodeAdmin,
    gate: Arc<StatusGate>,
    options: Options,
}

/// The label selectors of the watches.
fn of_nodes() -> watcher::Config {
    use taffrail_crds::labels::{COMPONENT, MANAGED_BY, MANAGED_BY_OPERATOR};
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_OPERATOR},{COMPONENT}=node"))
}

fn of_stores() -> watcher::Config {
    use taffrail_crds::labels::{MANAGED_BY, MANAGED_BY_OPERATOR, STORE};
    watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_OPERATOR},{STORE}"))
}

/// Starts both controllers for one namespace, or for all.
#[expect(clippy::disallowed_methods, reason = "the seam is the node's; `run` owns these tasks and waits for them")]
fn scope(
    shared: &Shared,
    namespace: Option<String>,
    health: &Health,
    stop: &CancellationToken,
    tasks: &mut JoinSet<String>,
) {
    let namespace = namespace.as_deref();
    let cache_sync = CacheSync::default();
    macro_rules! watch {
        ($kind:ty, $config:expr) => {{
            let (reader, writer) = reflector::store::<$kind>();
            let stream = follow(
                api::<$kind>(&shared.client, namespace),
                $config,
                writer,
                stringify!($kind),
                shared.metrics.clone(),
                cache_sync.clone(),
            );
            (reader, stream)
        }};
    }
    use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, policy::v1 as policy, rbac::v1 as rbac};
    macro_rules! watch_ours {
        ($kind:ty, $fingerprint:expr) => {{
            let (reader, writer) = reflector::store::<Guarded<$kind>>();
            let stream = follow_changes(
                api::<Guarded<$kind>>(&shared.client, namespace),
                writer,
                stringify!($kind),
                shared.metrics.clone(),
                cache_sync.clone(),
                $fingerprint,
            );
            (reader, stream)
        }};
    }
    let (clusters, cluster_stream) = watch_ours!(Cluster, |cluster| shape(cluster, cluster_status_is_empty(cluster)));
    let (event_stores, store_stream) = watch_ours!(EventStore, |store| shape(store, store_status_is_empty(store)));
    let (sets, set_stream) = watch!(apps::StatefulSet, of_nodes());
    let (pods, pod_stream) = watch!(core::Pod, of_nodes());
    let (claims, claim_stream) = watch!(core::PersistentVolumeClaim, of_nodes());
    let (config_maps, map_stream) = watch!(core::ConfigMap, of_nodes());
    let (services, service_stream) = watch!(core::Service, of_nodes());
    let (store_services, store_service_stream) = watch!(core::Service, of_stores());
    let (service_accounts, account_stream) = watch!(core::ServiceAccount, of_nodes());
    let (roles, role_stream) = watch!(rbac::Role, of_nodes());
    let (role_bindings, binding_stream) = watch!(rbac::RoleBinding, of_nodes());
    let (budgets, budget_stream) = watch!(policy::PodDisruptionBudget, of_nodes());
    // Each controller needs the other's kind as a trigger, and a watch feeds one stream only.
    let (_, stores_for_clusters) = watch_ours!(EventStore, |store| shape(store, false));
    let (_, clusters_for_stores) = watch_ours!(Cluster, |cluster| shape(cluster, false));

    let (to_clusters, cluster_triggers) = mpsc::channel(TRIGGERS_MAX);
    let (to_stores, store_triggers) = mpsc::channel(TRIGGERS_MAX);
    let triggers = Triggers { clusters: to_clusters, stores: to_stores };
    let context = Arc::new(Context {
        client: shared.client.clone(),
        writer: Writer::new(shared.client.clone(), shared.metrics.clone()),
        admin: shared.admin.clone(),
        conflict_watches: ConflictWatches::new(shared.client.clone(), triggers.clone()),
        cluster_views: ClusterViews::new(shared.admin.clone(), triggers, event_stores.clone()),
        events: shared.events.clone(),
        metrics: shared.metrics.clone(),
        backoffs: Backoffs::default(),
        gate: shared.gate.clone(),
        caches: Caches {
            cache_sync,
            clusters: clusters.clone(),
            event_stores: event_stores.clone(),
            sets,
            pods,
            claims,
            config_maps,
            services,
            store_services,
            service_accounts,
            roles,
            role_bindings,
            budgets,
        },
        options: shared.options.clone(),
    });

    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let cluster_controller = Controller::for_stream(cluster_stream, clusters)
        .with_config(config.clone())
        .owns_stream(set_stream)
        .owns_stream(service_stream)
        .owns_stream(account_stream)
        .owns_stream(role_stream)
        .owns_stream(binding_stream)
        .owns_stream(budget_stream)
        // The identity has no owner, and pods and claims have another one.
        .watches_stream(map_stream, by_label)
        .watches_stream(pod_stream, by_label)
        .watches_stream(claim_stream, by_label)
        .watches_stream(stores_for_clusters, |store: Guarded<EventStore>| {
            let parsed = store.0.ok()?;
            let namespace = parsed.metadata.namespace.unwrap_or_default();
            Some(ObjectRef::new(parsed.spec.cluster_ref.name.as_str()).within(&namespace))
        })
        .reconcile_on(ReceiverStream::new(cluster_triggers))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(cluster::reconcile, cluster::error_policy, context.clone());
    tasks.spawn(named("controller of Clusters", drive::<Cluster, _>(context.clone(), cluster_controller)));

    let known_stores = event_stores.clone();
    let store_controller = Controller::for_stream(store_stream, event_stores)
        .with_config(config)
        .owns_stream(store_service_stream)
        .watches_stream(clusters_for_stores, move |cluster: Guarded<Cluster>| {
            let (name, namespace) = (cluster.name_any(), cluster.namespace());
            let stores = known_stores.state().into_iter().filter(move |store| {
                let parsed = store.0.as_ref().ok();
                parsed.is_some_and(|store| {
                    store.metadata.namespace == namespace && store.spec.cluster_ref.name.as_str() == name
                })
            });
            stores.map(|store| ObjectRef::from_obj(store.as_ref())).collect::<Vec<_>>()
        })
        .reconcile_on(ReceiverStream::new(store_triggers))
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(event_store::reconcile, event_store::error_policy, context.clone());
    tasks.spawn(named("controller of EventStores", drive::<EventStore, _>(context.clone(), store_controller)));

    let (health, stop) = (health.clone(), stop.clone());
    tasks.spawn(named("caches", async move {
        tokio::select! {
            () = context.caches.cache_sync.all() => health.cache_filled(),
            () = stop.cancelled() => return,
        }
        stop.cancelled().await;
    }));
}

/// What of our own kinds calls for a pass: all but our own status, unless somebody emptied it.
fn shape<K: Resource>(object: &K, status_is_empty: bool) -> u64 {
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

fn by_label<K: ResourceExt>(object: K) -> Option<ObjectRef<Guarded<Cluster>>> {
    let cluster = object.labels().get(taffrail_crds::labels::CLUSTER)?;
    Some(ObjectRef::new(cluster).within(&object.namespace()?))
}

/// Drives a controller to its end and counts what it reports.
async fn drive<K: Reconciled, S>(ctx: Arc<Context>, controller: S)
where
    S: Stream<
            Item = Result<
                (ObjectRef<Guarded<K>>, kube::runtime::controller::Action),
                kube::runtime::controller::Error<error::Error, watcher::Error>,
            >,
        > + Send,
{
    use kube::runtime::controller::Error;
    let kind = K::kind(&());
    let kind = kind.as_ref();
    let mut controller = std::pin::pin!(controller);
    while let Some(pass) = controller.next().await {
        match pass {
            Ok(_) => {}
            // Ordinary after a deletion, and the only word of it: no pass is run for an object that is in no cache.
            Err(Error::ObjectNotFound(object)) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                reconcile_frame::gone::<K>(&ctx, namespace, &object.name, object.extra.uid.as_deref());
            }
            Err(Error::ReconcilerFailed(error, object)) => {
                tracing::warn!(kind, object = %object, class = error.class().as_str(), %error, "a pass failed");
            }
            Err(error) => {
                ctx.metrics.queue_error(kind);
                tracing::warn!(kind, %error, "the work queue failed");
            }
        }
    }
}
