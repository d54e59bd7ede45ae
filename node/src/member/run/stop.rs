//! The order of a stop: [`wait`] for the reason, [`end_servers`], [`close`] the databases.

use super::{servers::Servers, signals::Signals};
use crate::member::readiness::Readiness;
use crate::{
    config::Config,
    exit::Code,
    member::{
        deadline::{Deadline, Phase},
        lifecycle::End,
        member::Member,
    },
};
use std::sync::Arc;
use taffrail_raft::log::rocksdb_log::RocksdbLog;
use taffrail_runtime as rt;
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

/// Tokens in the order of their cancellation.
#[derive(Clone, Default)]
pub(super) struct StopTokens {
    /// First: ends the streams of reads and subscriptions.
    pub(super) streams: CancellationToken,
    /// Second: the server for clients accepts no more calls.
    pub(super) clients: CancellationToken,
    /// Last: ends links, the other servers and the lifecycle.
    pub(super) all: CancellationToken,
}

/// Waits for a signal or for the end of the lifecycle, then begins the stop. After a signal the node is not ready and hands
/// its leaderships over, and accepts calls for `shutdown.drain_delay` longer; a second signal skips this phase. All further
/// phases share the returned deadline.
pub(super) async fn wait(
    config: &Config,
    signals: &mut Signals,
    mut life: JoinHandle<Result<(), End>>,
    readiness: &watch::Sender<Readiness>,
    member: &watch::Receiver<Option<Arc<Member>>>,
) -> (Result<(), End>, Deadline) {
    tokio::select! {
        biased;
        ended = &mut life => {
            let died = |e: JoinError| Err(End { code: Code::Task, why: format!("the task lifecycle has ended: {e}") });
            let ended = ended.unwrap_or_else(died);
            return (ended, Deadline::after(config.grace));
        }
        () = signals.next() => {}
    }
    let deadline = Deadline::after(config.grace);
    tracing::info!("stopping: the node is not ready and hands over leaderships");
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
        () = signals.next() => tracing::warn!("second signal: the rest of this phase is skipped"),
        (handed, ()) = async { tokio::join!(hand_over, tokio::time::sleep(config.drain_delay)) } => if handed.is_err() {
            tracing::warn!("leaderships were not handed over in time; the groups elect new leaders");
        },
    }
    (Ok(()), deadline)
}

/// Ends the streams and the server for clients, then all other servers.
pub(super) async fn end_servers(servers: Servers, stop: &StopTokens, signals: &mut Signals, deadline: Deadline) {
    let Servers { mut clients, others } = servers;
    stop.streams.cancel();
    stop.clients.cancel();
    // Calls in progress may have been forwarded: links and the peer port stay until these calls have ended.
    tokio::select! {
        biased;
        () = signals.next() => tracing::warn!("second signal: the rest of this phase is skipped"),
        ended = tokio::time::timeout_at(deadline.of(Phase::Calls), &mut clients) => if ended.is_err() {
            tracing::warn!("calls did not end in time");
        },
    }
    stop.all.cancel();
    let until = deadline.of(Phase::Servers);
    for server in others {
        if tokio::time::timeout_at(until, server).await.is_err() {
            tracing::warn!("a server did not end in time");
        }
    }
}

/// Stops consensus, flushes the state so that the next start applies few entries, and ends the log writer.
pub(super) async fn close(member: &watch::Receiver<Option<Arc<Member>>>, log: Arc<RocksdbLog>, deadline: Deadline) {
    let member = member.borrow().clone();
    let mut left = Vec::new();
    if let Some(member) = member {
        left = member.stop_replicas(deadline).await;
        let db = Arc::clone(&member.parts.db);
        match tokio::time::timeout_at(deadline.of(Phase::Flush), rt::blocking(move || db.flush())).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::error!(%error, "state was not flushed; the next start applies the log again")
            }
            Ok(Err(error)) => tracing::error!(%error, "state was not flushed; the next start applies the log again"),
            Err(_) => tracing::warn!("state was not flushed in time; the next start applies the log again"),
        }
    }
    if tokio::time::timeout_at(deadline.of(Phase::Log), rt::blocking(move || log.close())).await.is_err() {
        tracing::warn!("the log writer did not end in time");
    }
    tracing::info!(replicas_left = left.len(), "stopped");
}
