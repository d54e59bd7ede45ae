//! Service `taffrail.v1.Subscriptions`, with a [`Subscription`] for each call.

use crate::{
    Shared,
    call::{call, same_store},
    cursor::Cursor,
    decode,
    forward::Original,
    resume::TokenOf,
    status::Problem,
    subscription::Subscription,
};
use futures::Stream;
use std::pin::Pin;
use taffrail_proto::v1::{self, subscriptions_server::Subscriptions};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// Maximum number of messages in memory for a slow subscriber; small, because a message may be a whole page and a
/// connection may have thousands of subscriptions. A slow subscriber delays no other subscriber.
const MESSAGES_MAX: usize = 2;

/// The service `Subscriptions` of a port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

type Messages = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Subscriptions for Service {
    type SubscribeStream = Messages;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.0.instrumented("Subscribe", request, |request| subscribe(&self.0, request)).await
    }
}

async fn subscribe(shared: &Shared, request: Request<v1::SubscribeRequest>) -> Result<Response<Messages>, Status> {
    let call = call(shared, &request)?;
    let selection = decode::subscribe(request.get_ref())?;
    let store = shared.node.resolve(&call.store, call.deadline).await.map_err(Problem::from)?;
    same_store(selection.store.unwrap_or(store.id), &store)?;
    let label = shared.metrics.store_label(&store.name.to_string());
    let open = shared.metrics.subscribers.with_label_values(&[&label]);
    let (tx, rx) = mpsc::channel(MESSAGES_MAX);
    let of = TokenOf { store: store.id, selector: selection.selector };
    let cursor = Cursor::new(selection);
    let original = Original::of(request.get_ref());
    let answers = call.answers.clone();
    let subscription = Subscription::new(shared.clone(), call, of, cursor, original, tx);
    rt::spawn_task("subscription", TaskKind::Call, async move {
        open.inc();
        subscription.run().await;
        open.dec();
    });
    Ok(Response::new(Box::pin(answers.stream(rx))))
}
