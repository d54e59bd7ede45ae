//! `taffrail.v1.Subscriptions`.

use crate::{Shared, call::call, cursor::Cursor, decode, status::Problem, subscription};
use futures::Stream;
use std::pin::Pin;
use taffrail_proto::v1::{self, subscriptions_server::Subscriptions};
use taffrail_runtime as rt;
use taffrail_store_api::Direction;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Messages that wait for a slow subscriber; it slows itself only. Few: one may be a whole page, and a connection may have
/// thousands of subscriptions.
const MESSAGES_MAX: usize = 2;

/// See the module.
#[derive(Clone)]
pub struct Service(pub Shared);

type Messages = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

impl Service {
    async fn subscribe_call(&self, request: Request<v1::SubscribeRequest>) -> Result<Response<Messages>, Status> {
        let call = call(&self.0, &request)?;
        let source = decode::subscribe(request.get_ref())?;
        let store = self.0.node.resolve(&call.store, call.deadline).await.map_err(Problem::from)?;
        let label = self.0.metrics.store_label(&store.name.to_string());
        let open = self.0.metrics.subscribers.with_label_values(&[&label]);
        let (tx, rx) = mpsc::channel(MESSAGES_MAX);
        let subscription =
            subscription::Subscription::new(self.0.clone(), call, Cursor::new(source, Direction::Forward), tx);
        rt::spawn(async move {
            open.inc();
            subscription.run().await;
            open.dec();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx))))
    }
}

#[tonic::async_trait]
impl Subscriptions for Service {
    type SubscribeStream = Messages;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.0.instrumented("Subscribe", request, |request| self.subscribe_call(request)).await
    }
}
