//! Carries a plan out: the Service, the declaration, and at the end the closing.

use kube::ResourceExt;
use taffrail_crds::EventStore;
use taffrail_proto::admin::{CloseMode, CloseStoreRequest, DeclareResult, StoreDeclaration};

use super::observe::declared_by;
use super::plan::Next;
use crate::apply::Owner;
use crate::context::{Context, cached};
use crate::error::Error;
use crate::node_admin::Members;
use crate::resources::services;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The first error.
    pub(super) error: Option<Error>,
    /// What already has the name of our Service. The store is served all the same.
    pub(super) name_taken: Option<String>,
    /// What the coordinator said to the declaration.
    pub(super) declared: Option<DeclareResult>,
}

pub(super) async fn act(ctx: &Context, store: &EventStore, next: Next) -> Outcome {
    let mut outcome = Outcome::default();
    // The store first: a Service is of no use without it, and clients wait for the store.
    if next == Next::Declare {
        match declare(ctx, store).await {
            Ok(result) => outcome.declared = Some(result),
            Err(error) => outcome.error = Some(error),
        }
    }
    match service(ctx, store).await {
        Ok(()) => {}
        Err(Error::NameTaken { kind, name }) => outcome.name_taken = Some(format!("{kind} {name}")),
        Err(error) => {
            outcome.error.get_or_insert(error);
        }
    }
    outcome
}

async fn service(ctx: &Context, store: &EventStore) -> Result<(), Error> {
    let (name, namespace) = (store.name_any(), store.namespace().unwrap_or_default());
    let uid = store.uid().unwrap_or_default();
    let owner = Owner { uid: &uid, namespace: &namespace };
    let seen = cached(&ctx.caches.store_services, &namespace, &name);
    match services::of_store(store, &ctx.options.cluster_domain) {
        Some(wanted) => ctx.writer.ensure(owner, &wanted, seen.as_deref()).await.map(drop),
        None => ctx.writer.remove(owner, seen.as_deref()).await.map(drop),
    }
}

fn members(ctx: &Context, store: &EventStore) -> Option<Members> {
    ctx.hub.members(&store.namespace().unwrap_or_default(), store.spec.cluster_ref.name.as_str())
}

async fn declare(ctx: &Context, store: &EventStore) -> Result<DeclareResult, Error> {
    let name = store.name_any();
    let doing = format!("declaring store {name}");
    let Some(members) = members(ctx, store) else {
        return Err(Error::node(doing)(crate::node_admin::Error::Nobody));
    };
    let declaration = StoreDeclaration {
        namespace: store.namespace().unwrap_or_default(),
        name,
        replicas: u32::try_from(store.spec.replicas).unwrap_or_default(),
        store_id: store.spec.store_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        declared_by: store.uid().unwrap_or_default(),
    };
    members.declare(declaration).await.map_err(Error::node(doing))
}

/// Closes the store of an object that is being deleted. `None`: done, the object may go. Reads the view live: a store
/// that was just declared may be missing from an older one.
pub(super) async fn close(ctx: &Context, store: &EventStore, mode: CloseMode) -> Result<Option<String>, Error> {
    let doing = format!("closing store {}", store.name_any());
    let Some(members) = members(ctx, store) else {
        return Ok(Some("the nodes to answer".to_owned()));
    };
    let uid = store.uid().unwrap_or_default();
    let view = members.view().await.map_err(Error::node(doing.clone()))?;
    let Some(id) = declared_by(&view, &uid).and_then(|view| view.store.as_ref()).map(|store| store.id.clone()) else {
        return Ok(None);
    };
    let request = CloseStoreRequest { store_id: id, mode: mode.into(), declared_by: uid };
    let answer = members.close_store(request).await.map_err(Error::node(doing))?;
    if answer.done {
        return Ok(None);
    }
    Ok(Some(if answer.waiting_for.is_empty() {
        "the nodes to remove their data".to_owned()
    } else {
        answer.waiting_for
    }))
}
