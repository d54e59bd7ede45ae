//! Service `taffrail.v1.Streams`, with a module for each call: [`append`], [`read`], [`list`].

use super::{
    append, list,
    read::{self, Pages},
};
use crate::Shared;
use taffrail_proto::v1::{self, streams_server::Streams};
use tonic::{Request, Response, Status};

/// The service `Streams` of a port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl Streams for Service {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let _timer = self.0.metrics.append_seconds.start_timer();
        self.0.instrumented("Append", request, |request| append::append(&self.0, request)).await
    }

    type ReadStream = Pages;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.0.instrumented("Read", request, |request| read::read(&self.0, request)).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        self.0.instrumented("ListStreams", request, |request| list::list(&self.0, request)).await
    }
}
