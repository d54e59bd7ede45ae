//! `taffrail.v1.Cluster`.

use crate::{
    gateway::{
        Shared,
        status::{Problem, Reason},
    },
    rt,
};
use futures::Stream;
use std::pin::Pin;
use taffrail_proto::v1::{self, cluster_server::Cluster};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// See the module.
#[derive(Clone)]
pub struct Service(pub Shared);

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(&self, _: Request<v1::ClusterStatusRequest>) -> Result<Response<v1::ClusterStatus>, Status> {
        Ok(Response::new(self.0.node.cluster_status()))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::ClusterStatus, Status>> + Send>>;

    async fn watch(&self, _: Request<v1::ClusterStatusRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (tx, rx) = mpsc::channel(1);
        let shared = self.0.clone();
        rt::spawn(async move {
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
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }
}
