//! `Streams.Read`: decodes a read and streams the pages fetched by [`Read`].

use crate::{Shared, call::call, decode, forward::Original, outflow::Queued, read::Read};
use futures::Stream;
use std::pin::Pin;
use taffrail_proto::v1::{self, read_response::Kind};
use taffrail_runtime::{self as rt, TaskKind};
use tokio::sync::mpsc::{self, Sender};
use tonic::{Request, Response, Status};

/// Maximum number of messages in memory for a slow reader; small, because a connection may have thousands of reads.
const MESSAGES_MAX: usize = 2;

/// The response stream of a read.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<v1::ReadResponse, Status>> + Send>>;

/// Handles a call of `Streams.Read`.
///
/// # Errors
/// When the request breaks a rule, or the first page cannot be read. Later errors end the stream.
pub(super) async fn read(shared: &Shared, request: Request<v1::ReadRequest>) -> Result<Response<Pages>, Status> {
    let call = call(shared, &request)?;
    let request = request.into_inner();
    let selection = decode::read(&request)?;
    let consistency = decode::consistency(&request)?;
    let original = Original::of(&request);
    let limit = if request.limit == 0 { u64::MAX } else { request.limit };
    let answers = call.answers.clone();
    let mut read = Read::new(shared.clone(), call, selection, limit, consistency, original);
    // The first message is read before the response begins: an error is then the status of the call.
    let timer = shared.metrics.read_first_page_seconds.start_timer();
    let first = read.next().await?;
    timer.observe_duration();
    let (tx, rx) = mpsc::channel(MESSAGES_MAX);
    rt::spawn_task("read", TaskKind::Call, send_pages(read, first, tx));
    Ok(Response::new(Box::pin(answers.stream(rx))))
}

async fn send_pages(mut read: Read, first: Option<Kind>, tx: Sender<Queued<v1::ReadResponse>>) {
    let mut message = first;
    while message.is_some() {
        if tx.send((Ok(v1::ReadResponse { kind: message }), read.take_permit())).await.is_err() {
            return;
        }
        message = match read.next().await {
            Ok(message) => message,
            Err(status) => {
                // A failed send needs no handling: the reader has left.
                drop(tx.send((Err(status), None)).await);
                return;
            }
        };
    }
}
