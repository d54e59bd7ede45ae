//! Service `grpc.health.v1.Health`: the server (empty name), each service of `taffrail.v1`, and each store by `NAME` or
//! `NAMESPACE/NAME`. A store is serving while this node leads the store or can forward calls to the leader.

use super::{Shared, resolve};
use futures::Stream;
use std::{pin::Pin, time::Duration};
use taffrail_proto::v1::{cluster_server, stores_server, streams_server, subscriptions_server};
use taffrail_runtime::{self as rt, TaskKind};
use taffrail_store_api::{ResolveError, Route};
use tokio::{
    sync::mpsc::{self, Sender},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// Time between two checks of a watched name, because the port to the node reports no change of a leader.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit of a check, for the resolution of the store.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The services of `taffrail.v1`.
pub(crate) const SERVICES: [&str; 4] = [
    streams_server::SERVICE_NAME,
    subscriptions_server::SERVICE_NAME,
    stores_server::SERVICE_NAME,
    cluster_server::SERVICE_NAME,
];

/// The health service of the client port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        match status(&self.0, name).await {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!("no service or store {name:?}"))),
            status @ (ServingStatus::Serving | ServingStatus::NotServing | ServingStatus::Unknown) => {
                Ok(Response::new(response(status)))
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (tx, rx) = mpsc::channel(1);
        let changes = send_changes(self.0.clone(), request.into_inner().service, tx);
        rt::spawn_task("health watch", TaskKind::Call, changes);
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }
}

/// Sends the status at once and after each change, until the client leaves or the node stops.
async fn send_changes(shared: Shared, name: String, tx: Sender<Result<HealthCheckResponse, Status>>) {
    let mut last = None;
    loop {
        let now = status(&shared, &name).await;
        if last != Some(now) {
            last = Some(now);
            if tx.send(Ok(response(now))).await.is_err() {
                return;
            }
        }
        if shared.stopping.is_cancelled() {
            return;
        }
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => {}
            () = tx.closed() => return,
            () = tokio::time::sleep(RECHECK_INTERVAL) => {}
        }
    }
}

/// Checks the server, a service or a store by name.
async fn status(shared: &Shared, name: &str) -> ServingStatus {
    let node_serves = !shared.stopping.is_cancelled() && shared.node.node_id().is_some();
    if name.is_empty() || SERVICES.contains(&name) {
        return serving(node_serves);
    }
    let Ok(store) = resolve::named(&shared.config, name) else { return ServingStatus::ServiceUnknown };
    if !node_serves {
        return ServingStatus::NotServing;
    }
    match shared.node.resolve(&store, Instant::now() + CHECK_TIMEOUT).await {
        Ok(store) => serving(match shared.node.route_write(&store) {
            Route::Local(replica) => replica.is_leader() || replica.leader().is_some(),
            Route::Remote(_) => store.leader.is_some_and(|leader| shared.node.peer_channel(leader.node).is_some()),
        }),
        Err(ResolveError::NotFound { .. }) => ServingStatus::ServiceUnknown,
        Err(
            ResolveError::Retained(_)
            | ResolveError::Removing(_)
            | ResolveError::Unconfirmed(_)
            | ResolveError::NotServing(_),
        ) => ServingStatus::NotServing,
    }
}

fn serving(yes: bool) -> ServingStatus {
    if yes { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
