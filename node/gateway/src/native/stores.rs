//! Service `taffrail.v1.Stores`: a single store, or the stores of the cluster page by page; creation
//! and removal of stores.

use crate::{
    Shared,
    call::{call, member},
    deadlines::{CallDeadline, MaybeProposed},
    features, instrument, resolve,
    status::Problem,
};
use std::future::Future;
use taffrail_core::{ids::StoreId, names::StoreName};
use taffrail_proto::v1::{self, stores_server::Stores};
use taffrail_store_api::{StoreChangeError, StoreFilter};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Maximum number of stores in a page, and the number for a request without `page_size`.
const PAGE_SIZE_MAX: usize = 1_000;

/// The service `Stores` of a port.
#[derive(Clone)]
pub(crate) struct Service(pub(crate) Shared);

#[tonic::async_trait]
impl Stores for Service {
    async fn create(
        &self,
        request: Request<v1::CreateStoreRequest>,
    ) -> Result<Response<v1::CreateStoreResponse>, Status> {
        self.0.instrumented("CreateStore", request, |request| create(&self.0, request)).await
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveStoreRequest>,
    ) -> Result<Response<v1::RemoveStoreResponse>, Status> {
        self.0.instrumented("RemoveStore", request, |request| remove(&self.0, request)).await
    }

    async fn get(&self, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
        self.0.instrumented("GetStore", request, |request| get(&self.0, request)).await
    }

    async fn list(&self, request: Request<v1::ListStoresRequest>) -> Result<Response<v1::ListStoresResponse>, Status> {
        self.0.instrumented("ListStores", request, |request| list(&self.0, request)).await
    }
}

/// Creates a store. The coordinator decides, whichever node takes the call.
async fn create(
    shared: &Shared,
    request: Request<v1::CreateStoreRequest>,
) -> Result<Response<v1::CreateStoreResponse>, Status> {
    let change = Change::of(shared, &request);
    let request = request.into_inner();
    features::check(&request.needs)?;
    let name = resolve::named(&shared.config, &request.store)?;
    name.check_new().map_err(Problem::from)?;
    instrument::record_store(&name);
    let store = change.outcome(shared.node.create_store(&name, request.replicas, change.deadline)).await?;
    Ok(Response::new(v1::CreateStoreResponse { store: Some(store) }))
}

/// Removes a store with its data. The coordinator decides, whichever node takes the call.
async fn remove(
    shared: &Shared,
    request: Request<v1::RemoveStoreRequest>,
) -> Result<Response<v1::RemoveStoreResponse>, Status> {
    let change = Change::of(shared, &request);
    let request = request.into_inner();
    features::check(&request.needs)?;
    let id = request
        .store_id
        .parse::<StoreId>()
        .map_err(|_| Problem::field("store_id", "must be the id of a store, a UUID"))?;
    let waiting_for = change.outcome(shared.node.remove_store(id, change.deadline)).await?;
    Ok(Response::new(v1::RemoveStoreResponse {
        done: waiting_for.is_none(),
        waiting_for: waiting_for.unwrap_or_default(),
    }))
}

/// A change of a store in progress.
struct Change {
    deadline: Instant,
    maybe_proposed: MaybeProposed,
}

impl Change {
    fn of<T>(shared: &Shared, request: &Request<T>) -> Self {
        let limit = CallDeadline::of(request.extensions());
        let maybe_proposed = limit.map(|limit| limit.maybe_proposed.clone()).unwrap_or_default();
        Self { deadline: deadline(shared, request), maybe_proposed }
    }

    /// Waits for the outcome of a change. If the deadline of the call passes first, the outcome is unknown.
    async fn outcome<T>(&self, change: impl Future<Output = Result<T, StoreChangeError>>) -> Result<T, Problem> {
        self.maybe_proposed.begin();
        let outcome = change.await;
        if !matches!(outcome, Ok(_) | Err(StoreChangeError::Unknown(_))) {
            self.maybe_proposed.rule_out();
        }
        outcome.map_err(Problem::from)
    }
}

/// Returns the deadline of a call.
fn deadline<T>(shared: &Shared, request: &Request<T>) -> Instant {
    let asked = CallDeadline::of(request.extensions()).map(|deadline| deadline.answer_by);
    asked.unwrap_or_else(|| Instant::now() + shared.config.timeout)
}

/// Returns the store named in the request, or else the store addressed by the call.
async fn get(shared: &Shared, request: Request<v1::GetStoreRequest>) -> Result<Response<v1::Store>, Status> {
    let deadline = deadline(shared, &request);
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
    let request = request.into_inner();
    features::check(&request.needs)?;
    member(shared)?;
    let limit = match request.page_size as usize {
        0 => PAGE_SIZE_MAX,
        n => n.min(PAGE_SIZE_MAX),
    };
    let filter = StoreFilter {
        include_retained: request.include_retained,
        namespace: Some(request.namespace).filter(|namespace| !namespace.is_empty()),
        name_prefix: request.name_prefix,
        after: after(&request.page_token)?,
        limit,
    };
    let stores = shared.node.stores(&filter).await;
    let last = stores.last().filter(|_| stores.len() == limit);
    let next_page_token = last.map(|s| format!("{}/{}/{}", s.namespace, s.name, s.id)).unwrap_or_default();
    Ok(Response::new(v1::ListStoresResponse { stores, next_page_token }))
}

/// Decodes a page token, `namespace/name/id` of the last store of the previous page.
fn after(token: &str) -> Result<Option<(StoreName, StoreId)>, Problem> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Problem::field("page_token", "must be the `next_page_token` of a page");
    let [namespace, name, id] = token.split('/').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let name = StoreName::new(namespace, name).map_err(|_| wrong())?;
    Ok(Some((name, id.parse().map_err(|_| wrong())?)))
}
