//! Service `taffrail.v1.Cluster`: the status of the cluster as known by this node.

use crate::{
    Shared,
    call::member,
    features,
    status::{Problem, Reason},
};
use futures::Stream;
use std::pin::Pin;
use taffrail_proto::v1::{self, cluster_server::Cluster};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service `Cluster` of a port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

type Changes = Pin<Box<dyn Stream<Item = Result<v1::ClusterStatus, Status>> + Send>>;

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(&self, request: Request<v1::ClusterStatusRequest>) -> Result<Response<v1::ClusterStatus>, Status> {
        self.0.instrumented("ClusterStatus", request, |_| status(&self.0)).await
    }

    async fn features(&self, request: Request<v1::FeaturesRequest>) -> Result<Response<v1::FeaturesResponse>, Status> {
        let known = v1::FeaturesResponse { features: features::KNOWN.to_vec() };
        self.0.instrumented("Features", request, |_| std::future::ready(Ok(Response::new(known)))).await
    }

    type WatchStream = Changes;

    async fn watch(&self, request: Request<v1::ClusterStatusRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.instrumented("WatchCluster", request, |_| watch(&self.0)).await
    }
}

async fn status(shared: &Shared) -> Result<Response<v1::ClusterStatus>, Status> {
    member(shared)?;
    Ok(Response::new(shared.node.cluster_status()))
}

async fn watch(shared: &Shared) -> Result<Response<Changes>, Status> {
    member(shared)?;
    let (tx, rx) = mpsc::channel(1);
    rt::spawn_task("cluster watch", TaskKind::Call, send_changes(shared.clone(), tx));
    Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
}

/// Sends the status at once and after each change, until the client leaves or the node stops.
async fn send_changes(shared: Shared, tx: Sender<Result<v1::ClusterStatus, Status>>) {
    let mut changes = shared.node.cluster_changes();
    let mut last = None;
    loop {
        let now = shared.node.cluster_status();
        if last.as_ref() != Some(&now) {
            if tx.send(Ok(now.clone())).await.is_err() {
                return;
            }
            last = Some(now);
        }
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => {
                let status = Problem::new(Reason::ShuttingDown, "the node is stopping").into();
                drop(tx.send(Err(status)).await);
                return;
            }
            () = tx.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
