//! [`run`]: builds the parts of a node in order, serves, and stops all parts in order.

use super::{
    databases,
    servers::{self, Listeners, Services},
    signals::Signals,
    stop::{self, StopTokens},
};
use crate::member::readiness::Readiness;
use crate::{
    config::Config,
    discovery,
    exit::Code,
    identity::DataDir,
    logging,
    member::{
        admin,
        deadline::Deadline,
        gateway_adapter::GatewayAdapter,
        lifecycle::{DiskStatus, End, Lifecycle, LifecycleRequest, ProcessHandles},
        member::Member,
        peer_handler::PeerHandler,
    },
};
use std::sync::Arc;
use taffrail_gateway as gateway;
use taffrail_gateway::{GatewayConfig, Origin, Shared};
use taffrail_metrics::Metrics;
use taffrail_raft::{
    log::{LogDisk, rocksdb_log::RocksdbLog},
    peer::{
        grpc::{GrpcTransport, keep_links},
        table::Table,
    },
};
use taffrail_runtime as rt;
use taffrail_storage::store::state_db::StateDb;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

/// Capacity of the queue of requests to the lifecycle.
const REQUESTS_MAX: usize = 16;

/// Result of a run.
pub struct Ended {
    /// `Ok` after a requested stop, else the reason why the node could not start or had to end.
    pub how: Result<(), End>,
    /// Bounds the end of the process.
    pub deadline: Deadline,
}

/// Runs a node until a signal or a fatal error. All log lines carry the span of the node.
pub async fn run(config: Config) -> Ended {
    let (span, grace) = (logging::node_span(&config.name), config.grace);
    let mut deadline = None;
    let how = in_span(config, &mut deadline).instrument(span).await;
    Ended { how, deadline: deadline.unwrap_or_else(|| Deadline::after(grace)) }
}

async fn in_span(config: Config, stopping: &mut Option<Deadline>) -> Result<(), End> {
    logging::show(&config);
    // Before all slow steps: a signal during the opening of the databases must not be lost.
    let mut signals = Signals::install()?;
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).map_err(failed)?);
    metrics.started(rt::now_us());
    let dir = DataDir::open(&config.data_dir, rt::new_uuid, rt::random_u64()).map_err(End::from)?;
    let listeners = Listeners::open(&config).await?;
    let (db, log) = databases::open(&dir, config.state_memory_bytes, &metrics)?;

    let stop = StopTokens::default();
    let Wiring { handles, requests, member, services } = wire(&config, &metrics, db, &log, &stop);
    let (_fixed, candidates) = discovery::source::start(&config, &stop.all);
    // Links begin once the node has an identity to present.
    rt::spawn(keep_links(handles.table.clone(), Arc::clone(&handles.handler) as _, candidates, stop.all.clone()));
    let readiness = Arc::clone(&handles.readiness);
    let servers = servers::start(listeners, services, &stop.clients, &stop.all)?;
    let life = rt::spawn(Lifecycle::new(handles, dir, requests).run());
    tracing::info!(clients = %config.listen_clients, "serving");

    let (ended, deadline) = stop::wait(&config, &mut signals, life, &readiness, &member).await;
    *stopping = Some(deadline);
    stop::end_servers(servers, &stop, &mut signals, deadline).await;
    stop::close(&member, log, deadline).await;
    ended
}

/// The parts that share channels: the lifecycle writes, the services read.
struct Wiring {
    handles: ProcessHandles,
    requests: mpsc::Receiver<LifecycleRequest>,
    member: watch::Receiver<Option<Arc<Member>>>,
    services: Services,
}

fn wire(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    db: Arc<StateDb>,
    log: &Arc<RocksdbLog>,
    stop: &StopTokens,
) -> Wiring {
    let readiness = Arc::new(watch::channel(Readiness::Starting).0);
    let (member_tx, member) = watch::channel::<Option<Arc<Member>>>(None);
    let (identity_tx, identity) = watch::channel(None);
    let (own_tx, own) = watch::channel(None);
    let (disk_tx, disk) = watch::channel(DiskStatus::default());
    let (requests_tx, requests) = mpsc::channel(REQUESTS_MAX);
    let table = Table::default();
    let handler = Arc::new(PeerHandler::new(identity, table.clone(), member.clone()));
    let adapter = GatewayAdapter::new(member.clone(), table.clone(), config.client_address());
    let services = Services {
        gateway: Shared {
            config: Arc::new(gateway_config(config)),
            node: Arc::clone(&adapter) as _,
            metrics: Arc::clone(metrics),
            readers: gateway::readers::Readers::default(),
            origin: Origin::Client,
            stopping: stop.streams.clone(),
        },
        admin: admin::Service {
            origin: Origin::Client,
            name: config.name.clone(),
            member: member.clone(),
            readiness: readiness.subscribe(),
            disk,
            requests: requests_tx,
            table: table.clone(),
        },
        peers: Arc::clone(&handler),
        adapter,
        readiness: Arc::clone(&readiness),
        metrics: Arc::clone(metrics),
        inflow_bytes_max: config.inflow_bytes_max,
    };
    let handles = ProcessHandles {
        config: Arc::clone(config),
        transport: GrpcTransport::new(table.clone(), own),
        table,
        own: own_tx,
        identity: identity_tx,
        member: member_tx,
        readiness,
        handler,
        metrics: Arc::clone(metrics),
        db,
        log: Arc::clone(log) as Arc<dyn LogDisk>,
        stop: stop.all.clone(),
        disk: disk_tx,
    };
    Wiring { handles, requests, member, services }
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

fn failed(error: impl std::fmt::Display) -> End {
    End { code: Code::Failed, why: error.to_string() }
}
