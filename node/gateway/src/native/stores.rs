//! `taffrail.v1.Stores`.

use crate::{Shared, call::call, deadlines::CallDeadline, instrument, resolve, status::Problem};
use taffrail_proto::v1::{self, stores_server::Stores};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// See the module.
#[derive(Clone)]
pub struct Service(pub Shared);

impl Service {
    async fn get_call(&self, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
        let asked = CallDeadline::of(request.extensions()).map(|limit| limit.answer_by);
        let deadline = asked.unwrap_or_else(|| Instant::now() + self.0.config.timeout);
        let name = match request.get_ref().store.as_str() {
            "" => call(&self.0, &request)?.store,
            name => resolve::named(&self.0.config, name)?,
        };
        instrument::record_store(&name);
        let store = self.0.node.store(&name, deadline).await.map_err(Problem::from)?;
        Ok(Response::new(store))
    }

    async fn list_call(
        &self,
        request: Request<v1::ListStoresRequest>,
    ) -> Result<Response<v1::ListStoresResponse>, Status> {
        let retained = request.get_ref().retained;
        let mut stores = self.0.node.stores().await;
        stores.retain(|s| retained || s.state() != v1::StoreState::Retained);
        Ok(Response::new(v1::ListStoresResponse { stores }))
    }
}

#[tonic::async_trait]
impl Stores for Service {
    async fn get(&self, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
        self.0.instrumented("GetStore", request, |request| self.get_call(request)).await
    }

    async fn list(&self, request: Request<v1::ListStoresRequest>) -> Result<Response<v1::ListStoresResponse>, Status> {
        self.0.instrumented("ListStores", request, |request| self.list_call(request)).await
    }
}
