//! [`refill`]: fetches the state of another replica for a replica whose state was lost. Runs instead of consensus, because
//! openraft panics on a state that ends below the purged part of the log.

use super::{
    digests::Digests,
    group::Home,
    log::{LogKey, log_storage::LogStorage},
    machine::Machine,
    shared_machine::SharedMachine,
    snapshot_fetch::{CatchUpFrom, FetchError, ReplicaContext, SnapshotFetch, stopping},
    start_check::{StartError, can_start},
};
use std::{io, sync::Arc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Fetches the state of one of `sources`, tried in order and each once, until the replica can start: the state is
/// complete and reaches the purged part of the log. The replica must not run. The machine is closed at the return, also
/// after an error; the caller opens the machine again for [`Group::start`](crate::group::Group::start).
///
/// # Errors
/// Returns the failure of the last source, an error of this replica's own storage, or `Interrupted` after `stop`.
pub async fn refill(
    home: &Home,
    key: LogKey,
    machine: Box<dyn Machine>,
    sources: &[CatchUpFrom],
    stop: &CancellationToken,
) -> io::Result<()> {
    let log = LogStorage::open(Arc::clone(&home.disk), key).await?;
    let machine = SharedMachine::new(machine, Arc::clone(&home.on_fatal));
    let context = ReplicaContext {
        key,
        cluster: home.cluster,
        node: home.node,
        transport: Arc::clone(&home.transport),
        stop: stop.clone(),
        limits: Arc::clone(&home.catch_ups),
        source: watch::channel(None).1,
    };
    let progress = Arc::new(watch::channel(taffrail_store_api::Applied::default()).0);
    let fetch = SnapshotFetch { machine: machine.clone(), context, progress, digests: Digests::default() };
    let done = fetch_from_any(&fetch, &log, sources).await;
    drop(machine.close().await);
    done
}

async fn fetch_from_any(fetch: &SnapshotFetch, log: &LogStorage, sources: &[CatchUpFrom]) -> io::Result<()> {
    let key = fetch.context.key;
    let mut last = io::Error::other("the group has no other replica to fetch the state from");
    for source in sources {
        let fetched = tokio::select! {
            biased;
            () = fetch.context.stop.cancelled() => return Err(stopping()),
            fetched = fetch.fetch(source) => fetched,
        };
        match fetched {
            Ok(()) => match check(&fetch.machine, log).await? {
                Ok(()) => return Ok(()),
                Err(e) => last = e.into(),
            },
            Err(FetchError::Local(e)) => return Err(e),
            Err(e @ (FetchError::Peer(_) | FetchError::Broken(_))) => last = io::Error::other(e),
        }
        tracing::warn!(group = %key.group, replica = %key.replica, from = %source.node, error = %last, "refill failed");
    }
    Err(last)
}

async fn check(machine: &SharedMachine, log: &LogStorage) -> io::Result<Result<(), StartError>> {
    let log = log.clone();
    machine.with(move |m| Ok(can_start(m, &log))).await
}
