//! gRPC health v1: the server (""), each service of `taffrail.v1`, and each store by `NAME` or `NAMESPACE/NAME`. A store is
//! serving while this node can pass calls on to a leader of it.

use super::{GatewayConfig, Shared, resolve};
use futures::Stream;
use std::{pin::Pin, time::Duration};
use taffrail_proto::v1::{cluster_server, stores_server, streams_server, subscriptions_server};
use taffrail_runtime as rt;
use taffrail_store_api::{ResolveError, Route};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// How often a watched store is looked at; leaders change without a word to the gateway.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Time for one look.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The services of `taffrail.v1`.
pub(super) const SERVICES: [&str; 4] = [
    streams_server::SERVICE_NAME,
    subscriptions_server::SERVICE_NAME,
    stores_server::SERVICE_NAME,
    cluster_server::SERVICE_NAME,
];

/// See the module.
#[derive(Clone)]
pub struct Service(pub Shared);

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn serving(yes: bool) -> ServingStatus {
    if yes { ServingStatus::Serving } else { ServingStatus::NotServing }
}

impl Service {
    async fn look(&self, name: &str) -> ServingStatus {
        let node_serves = !self.0.stopping.is_cancelled() && self.0.node.node_id().is_some();
        if name.is_empty() || SERVICES.contains(&name) {
            return serving(node_serves);
        }
        let Some(store) = store_name(&self.0.config, name) else { return ServingStatus::ServiceUnknown };
        if !node_serves {
            return ServingStatus::NotServing;
        }
        match self.0.node.resolve(&store, Instant::now() + LOOK_MAX).await {
            Ok(store) => serving(match self.0.node.route_write(&store) {
                Route::Local(replica) => replica.is_leader() || replica.leader().is_some(),
                Route::Remote(_) => store.leader.is_some_and(|leader| self.0.node.peer_channel(leader).is_some()),
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
}

fn store_name(config: &GatewayConfig, name: &str) -> Option<taffrail_core::names::StoreName> {
    resolve::named(config, name).ok()
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = &request.get_ref().service;
        match self.look(name).await {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!("no service or store {name:?}"))),
            status @ (ServingStatus::Serving | ServingStatus::NotServing | ServingStatus::Unknown) => {
                Ok(Response::new(answer(status)))
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (this, name) = (self.clone(), request.into_inner().service);
        let (tx, rx) = mpsc::channel(1);
        rt::spawn(async move {
            let mut last = None;
            loop {
                let now = this.look(&name).await;
                if last != Some(now) {
                    last = Some(now);
                    if tx.send(Ok(answer(now))).await.is_err() {
                        return;
                    }
                }
                if this.0.stopping.is_cancelled() {
                    return;
                }
                tokio::select! {
                    biased;
                    () = this.0.stopping.cancelled() => {}
                    () = tx.closed() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }
}
