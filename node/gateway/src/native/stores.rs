//! Service `taffrail.v1.Stores`: a single store, or all stores of the cluster.

use crate::{Shared, call::call, deadlines::CallDeadline, instrument, resolve, status::Problem};
use taffrail_proto::v1::{self, stores_server::Stores};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// The service `Stores` of a port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl Stores for Service {
    async fn get(&self, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
        self.0.instrumented("GetStore", request, |request| get(&self.0, request)).await
    }

    async fn list(&self, request: Request<v1::ListStoresRequest>) -> Result<Response<v1::ListStoresResponse>, Status> {
        self.0.instrumented("ListStores", request, |request| list(&self.0, request)).await
    }
}

/// Returns the store named in the request, or else the store addressed by the call.
async fn get(shared: &Shared, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
    let asked = CallDeadline::of(request.extensions()).map(|deadline| deadline.answer_by);
    let deadline = asked.unwrap_or_else(|| Instant::now() + shared.config.timeout);
    let name = match request.get_ref().store.as_str() {
        "" => call(shared, &request)?.store,
        name => resolve::named(&shared.config, name)?,
    };
    instrument::record_store(&name);
    let store = shared.node.store(&name, deadline).await.map_err(Problem::from)?;
    Ok(Response::new(store))
}

async fn list(
    shared: &Shared,
    request: Request<v1::ListStoresRequest>,
) -> Result<Response<v1::ListStoresResponse>, Status> {
    let retained = request.get_ref().retained;
    let mut stores = shared.node.stores().await;
    stores.retain(|s| retained || s.state() != v1::StoreState::Retained);
    Ok(Response::new(v1::ListStoresResponse { stores }))
}
