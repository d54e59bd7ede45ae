//! [`run`]: builds the parts of a node in order, serves, and stops all parts in order.

use super::{
    databases,
    servers::{self, Listeners},
    signals::Signals,
    stop::{self, StopTokens},
};
use crate::{
    config::Config,
    discovery,
    disk_space::FileSystem,
    exit::{Code, disk_failed, task_died},
    identity::{DataDir, PeerStarts},
    logging,
    member::{
        deadline::Deadline,
        lifecycle::{End, Lifecycle},
        timed_machine::timed,
        wiring::{Environment, Wiring, wire},
    },
};
use std::sync::Arc;
use taffrail_metrics::Metrics;
use taffrail_raft::{
    log::{LogDisk, rocksdb_log::RocksdbLog},
    peer::{grpc::GrpcTransport, links::keep_links, starts::Start, table::Table},
};
use taffrail_runtime::{self as rt, TaskKind, TaskWatch};
use taffrail_storage::store::state_db::StateDb;
use tokio::sync::watch;
use tracing::Instrument;

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
    rt::watch_tasks(watch(&metrics));
    let mut dir = DataDir::open(&config.data_dir, rt::new_uuid).map_err(End::from)?;
    let peer_starts = PeerStarts::in_directory(dir.path(), Arc::new(|e| disk_failed(e))).map_err(End::from)?;
    let listeners = Listeners::open(&config).await?;
    let (db, log) = databases::open(&dir, config.state_memory_bytes, &metrics)?;
    dir.record_start(Start { nonce: rt::random_u64(), floor: log.floor() }).map_err(End::from)?;

    let stop = StopTokens::default();
    let table = Table::default();
    let environment = environment(&config, &metrics, db, &log, peer_starts, &table, &stop);
    let Wiring { handles, requests, member, services } = wire(environment);
    let (_fixed, candidates) = discovery::source::start(&config, &stop.all);
    let readiness = Arc::clone(&handles.readiness);
    let servers = servers::start(listeners, services, &stop.clients, &stop.all)?;
    // Links begin once the node has an identity to present.
    let links = keep_links(table, Arc::clone(&handles.handler) as _, candidates, stop.all.clone());
    rt::spawn_task("peer links", TaskKind::Node(stop.all.clone()), links);
    let life = rt::spawn(Lifecycle::new(handles, dir, requests).run());
    tracing::info!(clients = %config.listen_clients, "serving");

    let (ended, deadline) = stop::wait(&config, &mut signals, life, &readiness, &member).await;
    *stopping = Some(deadline);
    stop::end_servers(servers, &stop, &mut signals, deadline).await;
    stop::close(&member, log, deadline).await;
    ended
}

/// The surroundings of a node in a process: files, and TCP connections to the peers of `table`.
fn environment(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    db: Arc<StateDb>,
    log: &Arc<RocksdbLog>,
    peer_starts: Arc<PeerStarts>,
    table: &Table,
    stop: &StopTokens,
) -> Environment {
    let (own, own_rx) = watch::channel(None);
    Environment {
        config: Arc::clone(config),
        metrics: Arc::clone(metrics),
        db,
        log: Arc::clone(log) as Arc<dyn LogDisk>,
        transport: Arc::new(GrpcTransport::new(table.clone(), own_rx)),
        peers: Arc::new(table.clone()),
        peer_starts,
        own,
        meter: Arc::new(FileSystem::of(config.data_dir.clone())),
        wrap: timed(metrics.apply_seconds.clone()),
        on_fatal: Arc::new(|e| disk_failed(e)),
        stop_streams: stop.streams.clone(),
        stop: stop.all.clone(),
    }
}

/// Counts the unexpected ends of tasks, and ends the process if the node cannot go on.
fn watch(metrics: &Metrics) -> TaskWatch {
    let failed = metrics.tasks_failed.clone();
    Box::new(move |end| {
        failed.with_label_values(&[end.task.as_str()]).inc();
        if end.fatal {
            task_died(end);
        }
    })
}

fn failed(error: impl std::fmt::Display) -> End {
    End { code: Code::Failed, why: error.to_string() }
}
