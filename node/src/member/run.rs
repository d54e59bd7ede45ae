//! The process: open, serve, stop in order.

use super::{
    admin,
    deadline::{Deadline, Phase},
    gateway_adapter::GatewayAdapter,
    lifecycle::{DiskStatus, End, Lifecycle, ProcessHandles},
    member::Member,
    peer_handler::PeerHandler,
};
use crate::member::readiness::Readiness;
use crate::{
    config::{Config, Discovery},
    discovery::{Candidates, fixed, kubernetes},
    exit::{Code, disk_failed},
    identity::DataDir,
    logging,
};
use std::{io, net::SocketAddr, sync::Arc};
use taffrail_gateway as gateway;
use taffrail_gateway::{GatewayConfig, Origin, Shared};
use taffrail_http as http;
use taffrail_metrics::Metrics;
use taffrail_proto::{MESSAGE_BYTES_MAX, admin::admin_server::AdminServer, peer::peer_server::PeerServer};
use taffrail_raft::{
    log::{LogDisk, rocksdb_log::RocksdbLog},
    peer::{
        grpc::{GrpcTransport, keep_links},
        server::Service as PeerService,
        table::Table,
    },
};
use taffrail_runtime as rt;
use taffrail_storage::store::state_db::{Medium, StateDb};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::TcpIncoming;
use tracing::Instrument;

/// Requests to the life of the node that may wait.
const REQUESTS_MAX: usize = 16;

fn end(code: Code, why: impl std::fmt::Display) -> End {
    End { code, why: why.to_string() }
}

struct Listeners {
    clients: TcpListener,
    peers: TcpListener,
    admin: TcpListener,
    http: TcpListener,
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, End> {
    let failed =
        |e: io::Error| end(Code::Port, format!("listen.{what}: {address}: {e}; is another process using the port?"));
    TcpListener::bind(address).await.map_err(failed)
}

impl Listeners {
    async fn open(config: &Config) -> Result<Self, End> {
        Ok(Self {
            clients: listen("clients", config.listen_clients).await?,
            peers: listen("peers", config.listen_peers).await?,
            admin: listen("admin", config.listen_admin).await?,
            http: listen("http", config.listen_http).await?,
        })
    }
}

fn open_databases(
    dir: &DataDir,
    memory_bytes: usize,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<StateDb>, Arc<RocksdbLog>), End> {
    let db = StateDb::open_within(&dir.state_path(), &Medium::Disk, memory_bytes).map_err(|e| end(Code::Disk, e))?;
    let sync = metrics.log_sync_seconds.clone();
    let log =
        RocksdbLog::open(&dir.log_path(), Arc::new(|e| disk_failed(e)), Arc::new(move |seconds| sync.observe(seconds)))
            .map_err(|e| end(Code::Disk, e))?;
    Ok((Arc::new(db), Arc::new(log)))
}

fn candidates(
    config: &Config,
    stop: &CancellationToken,
) -> (Option<watch::Sender<std::collections::BTreeSet<String>>>, Candidates) {
    match &config.discovery {
        Discovery::Kubernetes { service } => {
            let watched = kubernetes::Config {
                namespace: config.namespace.clone(),
                service: service.clone(),
                port: config.listen_peers.port(),
                data_dir: config.data_dir.clone(),
            };
            (None, kubernetes::candidates(watched, stop.clone()))
        }
        Discovery::Static { peers } => {
            let (keep, candidates) = fixed::candidates(peers);
            (Some(keep), candidates)
        }
        Discovery::Single => {
            let (keep, candidates) = fixed::candidates(&[]);
            (Some(keep), candidates)
        }
    }
}

/// Serves `routes` until `stop`, then lets calls that are under way end. Together they hold `inflow_bytes_max` at most.
fn serve(listener: TcpListener, routes: Routes, inflow_bytes_max: usize, stop: CancellationToken) -> JoinHandle<()> {
    rt::spawn(async move {
        // The server's own setting holds only for sockets that it binds itself; without it here an answer waits up to
        // 40 ms for the acknowledgement of the packet before it.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = gateway::server::server(inflow_bytes_max).add_routes(routes);
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "a gRPC server ended");
        }
    })
}

/// How a node has ended.
pub struct Ended {
    /// Told to, or why it could not start or had to end.
    pub how: Result<(), End>,
    /// What is left for the process to end in.
    pub deadline: Deadline,
}

/// Runs a node until it is told to stop. Everything that it logs names it: by its id too, once it has one.
pub async fn run(config: Config) -> Ended {
    let (span, grace) = (logging::node_span(&config.name), config.grace);
    let mut deadline = None;
    let how = in_span(config, &mut deadline).instrument(span).await;
    Ended { how, deadline: deadline.unwrap_or_else(|| Deadline::after(grace)) }
}

async fn in_span(config: Config, stopping: &mut Option<Deadline>) -> Result<(), End> {
    logging::show(&config);
    // First of all: the first process of a container has no default action, so a signal that comes while the databases are
    // opened would be lost, and the pod killed at the end of its grace period.
    let mut signals = Signals::install()?;
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|e| end(Code::Failed, e))?);
    metrics.started(rt::now_us());
    let dir = DataDir::open(&config.data_dir, rt::new_uuid, rt::random_u64()).map_err(End::from)?;
    let listeners = Listeners::open(&config).await?;
    let (db, log) = open_databases(&dir, config.state_memory_bytes, &metrics)?;

    // Three signs to stop: streams end, then servers, then everything.
    let (streams, servers, all) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let readiness = Arc::new(watch::channel(Readiness::Starting).0);
    let (member_tx, member) = watch::channel::<Option<Arc<Member>>>(None);
    let (identity_tx, identity) = watch::channel(None);
    let (own_tx, own) = watch::channel(None);
    let (disk_tx, disk) = watch::channel(DiskStatus::default());
    let (requests_tx, requests) = mpsc::channel(REQUESTS_MAX);
    let table = Table::default();
    let handler = Arc::new(PeerHandler::new(identity.clone(), table.clone(), member.clone()));
    let adapter = GatewayAdapter::new(member.clone(), table.clone());
    let transport = GrpcTransport::new(table.clone(), own);

    let handles = ProcessHandles {
        config: Arc::clone(&config),
        table: table.clone(),
        transport,
        own: own_tx,
        identity: identity_tx,
        member: member_tx,
        readiness: Arc::clone(&readiness),
        handler: Arc::clone(&handler),
        metrics: Arc::clone(&metrics),
        db,
        log: Arc::clone(&log) as Arc<dyn LogDisk>,
        stop: all.clone(),
        disk: disk_tx,
    };
    let (keep, candidates) = candidates(&config, &all);
    // Links begin once the node has an identity to show.
    rt::spawn(keep_links(table.clone(), Arc::clone(&handler) as _, candidates, all.clone()));

    let shared = Shared {
        config: Arc::new(gateway_config(&config)),
        node: Arc::clone(&adapter) as _,
        metrics: Arc::clone(&metrics),
        readers: gateway::readers::Readers::default(),
        origin: Origin::Client,
        stopping: streams.clone(),
    };
    let admin = admin::Service {
        origin: Origin::Client,
        name: config.name.clone(),
        member: member.clone(),
        readiness: readiness.subscribe(),
        disk,
        requests: requests_tx,
        table,
    };
    let probes =
        NodeProbes { metrics: Arc::clone(&metrics), adapter: Arc::clone(&adapter), readiness: readiness.subscribe() };
    let client_routes = gateway::server::client_routes(&shared).map_err(|e| end(Code::Failed, e))?;
    let inflow = config.inflow_bytes_max;
    let mut clients = serve(listeners.clients, client_routes, inflow, servers.clone());
    let tasks = vec![
        serve(listeners.peers, peer_routes(&shared, &admin, handler), inflow, all.clone()),
        serve(listeners.admin, Routes::new(AdminServer::new(admin)), inflow, all.clone()),
        rt::spawn(http::serve(listeners.http, Arc::new(probes), all.clone())),
    ];

    let life = rt::spawn(Lifecycle::new(handles, dir, requests).run());
    tracing::info!(clients = %config.listen_clients, "serving");
    let (ended, deadline) = wait(&config, &mut signals, life, &readiness, &member).await;
    *stopping = Some(deadline);
    streams.cancel();
    servers.cancel();
    // Calls under way may have been passed on: links and the peer port stay until they have ended.
    tokio::select! {
        biased;
        () = signals.next() => tracing::warn!("a second signal: skipping ahead"),
        ended = tokio::time::timeout_at(deadline.of(Phase::Calls), &mut clients) => if ended.is_err() {
            tracing::warn!("calls did not end in time");
        },
    }
    all.cancel();
    let until = deadline.of(Phase::Servers);
    for task in tasks {
        if tokio::time::timeout_at(until, task).await.is_err() {
            tracing::warn!("a server did not end in time");
        }
    }
    close(&member, log, deadline).await;
    drop(keep);
    ended
}

fn gateway_config(config: &Config) -> GatewayConfig {
    GatewayConfig {
        cluster: config.cluster.clone(),
        namespace: config.namespace.clone(),
        cluster_domain: config.cluster_domain.clone(),
        domains: config.domains.clone(),
        default_store: config.default_store.clone(),
        event_bytes_max: config.event_bytes_max,
        batch_bytes_max: config.batch_bytes_max,
        timeout: config.append_timeout,
    }
}

/// Port 2114: frames, and calls that peers have passed on.
fn peer_routes(shared: &Shared, admin: &admin::Service, handler: Arc<PeerHandler>) -> Routes {
    let mut routes = RoutesBuilder::default();
    let peer = PeerServer::new(PeerService::new(handler))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    routes.add_service(peer);
    gateway::server::add_native(&mut routes, &Shared { origin: Origin::Peer, ..shared.clone() });
    routes.add_service(AdminServer::new(admin::Service { origin: Origin::Peer, ..admin.clone() }));
    routes.routes()
}

/// The answers to the probes. Liveness is the event loop alone: a restart mends nothing else.
struct NodeProbes {
    metrics: Arc<Metrics>,
    adapter: Arc<GatewayAdapter>,
    readiness: watch::Receiver<Readiness>,
}

impl http::Probes for NodeProbes {
    fn live(&self) -> Result<(), String> {
        Ok(())
    }
    fn ready(&self) -> Result<(), String> {
        let now = self.readiness.borrow();
        if *now == Readiness::Ready { Ok(()) } else { Err(now.to_string()) }
    }
    fn metrics(&self) -> Result<String, String> {
        self.adapter.sample(&self.metrics);
        self.metrics.ready.set((*self.readiness.borrow() == Readiness::Ready).into());
        Ok(self.metrics.render())
    }
}

/// The signals that end a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Self, End> {
        let failed = |e: io::Error| end(Code::Failed, e);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal or the end of the node's life, then begins to stop: not ready and leaderships handed over, still
/// accepting for a while. A second signal skips ahead. From here on everything shares the deadline.
async fn wait(
    config: &Config,
    signals: &mut Signals,
    mut life: JoinHandle<Result<(), End>>,
    readiness: &watch::Sender<Readiness>,
    member: &watch::Receiver<Option<Arc<Member>>>,
) -> (Result<(), End>, Deadline) {
    tokio::select! {
        biased;
        ended = &mut life => {
            let ended = ended.unwrap_or_else(|e| Err(end(Code::Failed, e)));
            return (ended, Deadline::after(config.grace));
        }
        () = signals.next() => {}
    }
    let deadline = Deadline::after(config.grace);
    tracing::info!("stopping: not ready, leaderships are handed over");
    readiness.send_replace(Readiness::ShuttingDown);
    let hand_over = async {
        let member = member.borrow().clone();
        if let Some(member) = member {
            member.hand_over().await;
        }
    };
    let hand_over = tokio::time::timeout_at(deadline.of(Phase::HandOver), hand_over);
    tokio::select! {
        biased;
        () = signals.next() => tracing::warn!("a second signal: skipping ahead"),
        (handed, ()) = async { tokio::join!(hand_over, tokio::time::sleep(config.drain_delay)) } => if handed.is_err() {
            tracing::warn!("leaderships were not handed over in time; they go by election");
        },
    }
    (Ok(()), deadline)
}

/// Stops consensus, flushes state so that the next start is short, ends the log writer.
async fn close(member: &watch::Receiver<Option<Arc<Member>>>, log: Arc<RocksdbLog>, deadline: Deadline) {
    let member = member.borrow().clone();
    let mut left = Vec::new();
    if let Some(member) = member {
        left = member.stop_replicas(deadline).await;
        let db = Arc::clone(&member.parts.db);
        match tokio::time::timeout_at(deadline.of(Phase::Flush), rt::blocking(move || db.flush())).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "state was not flushed; the log will rebuild it"),
            Ok(Err(error)) => tracing::error!(%error, "state was not flushed; the log will rebuild it"),
            Err(_) => tracing::warn!("state was not flushed in time; the log will rebuild it"),
        }
    }
    if tokio::time::timeout_at(deadline.of(Phase::Log), rt::blocking(move || log.close())).await.is_err() {
        tracing::warn!("the log writer did not end in time");
    }
    tracing::info!(replicas_left = left.len(), "stopped");
}
