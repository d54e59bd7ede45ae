//! Startup and shutdown of the operator process: two controllers for each scope, the HTTP port, a common shutdown.
//!
//! The operator runs as a single replica without a lease. [`run`] is the place for a lease: start the controllers once
//! the lease is held, end the process once the lease is lost. Safety does not depend on a lease: every disruption of a
//! node needs a grant of the coordinator.

use crate::{
    args::{LogFormat, Logging, RunArgs},
    cluster_domain,
    context::Options,
    events::Events,
    health::Health,
    metrics::Metrics,
    node_admin::NodeAdmin,
    scope::{self, ProcessHandles, named},
};
use kube::Client;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Read timeout of every request, so no request hangs. Only watches live longer, and a watch sends data more often.
const READ_TIMEOUT: Duration = Duration::from_secs(320);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KINDS_RETRY: Duration = Duration::from_secs(2);
const GROUP_VERSION: &str = "taffrail.io/v1alpha1";

/// Failure to start the operator, or a task that ended before the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No configuration for access to an API server was found.
    #[error(
        "no configuration for access to a Kubernetes API server: {0}; set KUBECONFIG, or run in a pod with a service \
         account"
    )]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The Kubernetes client cannot be built from the configuration.
    #[error("the Kubernetes client cannot be built: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The HTTP port of metrics and probes cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Two metrics have the same name.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The signal handlers cannot be installed.
    #[error("cannot install the signal handlers: {0}")]
    Signal(#[source] std::io::Error),
    /// A task ended before the shutdown. Only a restart of the process restores a clean state.
    #[error("a task of the operator ended before the shutdown: {0}; restart the process")]
    Ended(String),
}

/// Installs the `tracing` subscriber of the process. An invalid filter falls back to `info`.
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

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// The operator cannot start, or a task ended before the shutdown. Only a restart of the process restores
/// a clean state.
#[expect(clippy::disallowed_methods, reason = "the operator is no node; `run` owns these tasks and waits for them")]
pub async fn run(args: RunArgs) -> Result<(), Error> {
    let client = client().await?;
    let metrics = Metrics::new()?;
    let scopes = args.scopes();
    let options =
        Options { node_image: args.node_image.clone(), cluster_domain: cluster_domain::find(&args.cluster_domain) };
    tracing::info!(?scopes, ?options, version = env!("CARGO_PKG_VERSION"), "starting");
    let health = Health::new(metrics.clone(), scopes.len());
    let address = args.listen;
    let listener = taffrail_http::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(named("http", taffrail_http::serve(listener, Arc::new(health.clone()), stop.clone())));
    let beat = health.clone();
    let beat_stop = stop.clone();
    tasks.spawn(named("heartbeat", async move { beat.beat(beat_stop).await }));
    tasks.spawn(named("signals", signalled(stop.clone())?));

    if kinds_served(&client, &stop).await {
        health.kinds_served();
        let process = ProcessHandles {
            events: Events::new(client.clone()),
            admin: NodeAdmin::new(metrics.clone()),
            gate: Arc::default(),
            client,
            metrics,
            options,
        };
        for namespace in scopes {
            scope::start(&process, namespace.as_deref(), &health, &stop, &mut tasks);
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

/// Builds the client of the API server, with timeouts and without built-in retries: the backoff of each object
/// decides about retries.
///
/// # Errors
/// No configuration was found, or the configuration is unusable.
pub async fn client() -> Result<Client, Error> {
    let mut config = kube::Config::infer().await.map_err(|error| Error::Config(Box::new(error)))?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

/// Returns a future that waits for SIGTERM or SIGINT and then cancels `stop`. A second signal is left to the
/// supervisor: the controllers finish every reconcile within a deadline.
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
        tracing::info!("received a stop signal");
        stop.cancel();
    })
}

/// Waits until the API server serves both kinds. Returns false if `stop` is cancelled first.
async fn kinds_served(client: &Client, stop: &CancellationToken) -> bool {
    let mut logged = String::new();
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
        if logged != missing {
            tracing::warn!(missing, "waiting for the API server to serve both kinds; install the chart taffrail-crds");
            logged = missing;
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(KINDS_RETRY) => {}
        }
    }
}
