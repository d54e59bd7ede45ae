//! Carries out a plan: declares the store, writes the Service, and closes the store of a deleted object.

use super::plan::{Next, store_to_close};
use crate::{
    apply::Owner,
    context::{Context, cached},
    controllers::reconcile_frame::Progress,
    error::Error,
    name_conflict::NameConflict,
    node_admin::Members,
    resources::services,
};
use kube::ResourceExt;
use taffrail_crds::EventStore;
use taffrail_proto::admin::{CloseMode, CloseStoreRequest, DeclareResult, StoreDeclaration};

/// Maximum number of stores closed by a reconcile. An object declares a single store; more stores are left only by
/// an aborted adoption.
const CLOSED_AT_ONCE: usize = 4;
/// Phrase for a deletion that waits while no node can be asked.
pub(super) const NO_ANSWER: &str = "the nodes of the Cluster to answer";

/// Result of carrying out a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The first error.
    pub(super) error: Option<Error>,
    /// Object that already has the name of our Service. The store is served all the same.
    pub(super) name_conflict: Option<NameConflict>,
    /// Answer of the coordinator to the declaration.
    pub(super) declared: Option<DeclareResult>,
}

pub(super) async fn act(ctx: &Context, store: &EventStore, next: Next, progress: &Progress) -> Outcome {
    let mut outcome = Outcome::default();
    // The store comes first: a Service is of no use without the store, and clients wait for the store.
    if next == Next::Declare {
        progress.at("declaring the store to the nodes");
        match declare(ctx, store).await {
            Ok(result) => outcome.declared = Some(result),
            Err(error) => outcome.error = Some(error),
        }
    }
    progress.at("writing the Service");
    match service(ctx, store).await {
        Ok(()) => {}
        Err(Error::NameConflict { conflicts }) => outcome.name_conflict = conflicts.into_iter().next(),
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
    let known = cached(&ctx.caches.store_services, &namespace, &name);
    match services::of_store(store, &ctx.options.cluster_domain) {
        Some(wanted) => ctx.writer.ensure(owner, &wanted, known.as_deref()).await.map(drop),
        None => ctx.writer.remove(owner, known.as_deref()).await.map(drop),
    }
}

async fn declare(ctx: &Context, store: &EventStore) -> Result<DeclareResult, Error> {
    let name = store.name_any();
    let doing = format!("declaring store {name}");
    let declaration = StoreDeclaration {
        namespace: store.namespace().unwrap_or_default(),
        name,
        replicas: u32::try_from(store.spec.replicas).unwrap_or_default(),
        store_id: store.spec.store_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        declared_by: store.uid().unwrap_or_default(),
    };
    let (namespace, cluster) = (store.namespace().unwrap_or_default(), store.spec.cluster_ref.name.as_str());
    ctx.cluster_views.declare(&namespace, cluster, declaration).await.map_err(Error::node(doing))
}

/// Closes the stores declared by an object that is being deleted. `None`: a view taken after the last close names no
/// store of the object any more, so the object may go. The coordinator examines the stores again for each view requested
/// by this function.
pub(super) async fn close(
    ctx: &Context,
    store: &EventStore,
    mode: CloseMode,
    cluster_id: Option<&str>,
) -> Result<Option<String>, Error> {
    let doing = format!("closing store {}", store.name_any());
    let Some(members) = members(ctx, store) else {
        return Ok(Some(NO_ANSWER.to_owned()));
    };
    let uid = store.uid().unwrap_or_default();
    for _ in 0..CLOSED_AT_ONCE {
        let view = members.view().await.map_err(Error::node(doing.clone()))?;
        let of = view.status.as_ref().map(|status| status.cluster_id.as_str());
        if of.is_none() || of != cluster_id {
            // The address now belongs to a pod of another Cluster; the right addresses are not known yet.
            return Ok(Some(NO_ANSWER.to_owned()));
        }
        let Some(id) = store_to_close(&view, &uid, mode).map(|store| store.id.clone()) else {
            return Ok(None);
        };
        let request = CloseStoreRequest { store_id: id, mode: mode.into(), declared_by: uid.clone() };
        let answer = members.close_store(request).await.map_err(Error::node(doing.clone()))?;
        if !answer.done {
            let removing = Some(answer.waiting_for).filter(|text| !text.is_empty());
            return Ok(Some(removing.unwrap_or_else(|| "the nodes to remove their data".to_owned())));
        }
    }
    Ok(Some("the nodes to confirm that the store is closed".to_owned()))
}

fn members(ctx: &Context, store: &EventStore) -> Option<Members> {
    ctx.cluster_views.members(&store.namespace().unwrap_or_default(), store.spec.cluster_ref.name.as_str())
}
