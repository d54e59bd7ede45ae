//! Finalizer of Clusters and EventStores. A Cluster has the finalizer while EventStores name the Cluster: their cleanup
//! needs the nodes. Volumes and identity of the Cluster stay in any case.

use super::observation::Wish;
use crate::{context::Context, error::Error, owned::Owned, resources::labels::FINALIZER};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    ResourceExt,
    api::{Api, ListParams, Patch, PatchParams},
};
use serde_json::json;
use taffrail_crds::EventStore;

/// First decision of a reconcile, derived from the finalizer of the Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalizerDecision {
    /// Do nothing: the Cluster is being deleted and held by foreign finalizers only.
    Ignore,
    /// Remove the finalizer: the Cluster is being deleted and nothing needs the nodes any more.
    Release,
    /// Continue. The finalizer is set (`Some(true)`), removed (`Some(false)`) or left unchanged (`None`).
    Continue(Option<bool>),
}

/// Decides about the finalizer of a Cluster. A pause leaves the finalizer unchanged and holds a deletion, but not
/// against the end of the namespace: Kubernetes deletes everything in the namespace anyway, and a finalizer would only
/// leave the namespace hanging.
pub(super) fn decide(wish: &Wish, held: bool, has_stores: bool, namespace_terminating: bool) -> FinalizerDecision {
    match (wish.deleting, wish.paused) {
        (true, _) if !held => FinalizerDecision::Ignore,
        (true, _) if namespace_terminating => FinalizerDecision::Release,
        (_, true) => FinalizerDecision::Continue(None),
        (true, false) if !has_stores => FinalizerDecision::Release,
        (true, false) => FinalizerDecision::Continue(None),
        (false, false) => FinalizerDecision::Continue(Some(has_stores)),
    }
}

/// Returns whether any EventStore names this Cluster, according to a live list.
pub(super) async fn has_stores(ctx: &Context, namespace: &str, cluster: &str) -> Result<bool, Error> {
    let stores: Api<EventStore> = Api::namespaced(ctx.client.clone(), namespace);
    let named = ListParams::default().fields(&format!("spec.clusterRef.name={cluster}")).limit(1);
    let found = stores.list_metadata(&named).await.map_err(Error::api("listing the EventStores of the Cluster"))?;
    Ok(!found.items.is_empty())
}

/// Returns whether the object has the finalizer of the operator.
pub(crate) fn has_finalizer<K: Owned>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Sets or removes the finalizer of the operator, on exactly the version of the object that was read.
pub(crate) async fn set_finalizer<K: Owned>(ctx: &Context, object: &K, wanted: bool) -> Result<(), Error> {
    if has_finalizer(object) == wanted {
        return Ok(());
    }
    let mut finalizers: Vec<&str> =
        object.finalizers().iter().map(String::as_str).filter(|n| *n != FINALIZER).collect();
    if wanted {
        finalizers.push(FINALIZER);
    }
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": finalizers,
    }});
    let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    match api.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => {
            ctx.metrics.object_written(&kind);
            Ok(())
        }
        // The object is gone, and the finalizer with it.
        Err(kube::Error::Api(status)) if !wanted && status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api(format!("changing the finalizers of {kind} {name}"))(error)),
    }
}

/// Returns whether the namespace is gone or being deleted.
pub(crate) async fn namespace_terminating(ctx: &Context, namespace: &str) -> Result<bool, Error> {
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    match namespaces.get_metadata_opt(namespace).await {
        Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        // An operator restricted to a few namespaces may lack this permission; the cleanup then takes
        // its normal course.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        Err(error) => Err(Error::api("reading the namespace")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(deleting: bool, paused: bool) -> Wish {
        Wish { name: "main".to_owned(), replicas: 3, paused, deleting }
    }

    #[test]
    fn a_pause_leaves_the_finalizer_alone_and_holds_a_deletion() {
        for has_stores in [true, false] {
            for deleting in [true, false] {
                assert_eq!(decide(&wish(deleting, true), true, has_stores, false), FinalizerDecision::Continue(None));
            }
        }
    }

    #[test]
    fn a_pause_does_not_hold_up_the_end_of_the_namespace() {
        for has_stores in [true, false] {
            assert_eq!(decide(&wish(true, true), true, has_stores, true), FinalizerDecision::Release);
            // The namespace controller deletes the object later; until then the object is left alone.
            assert_eq!(decide(&wish(false, true), true, has_stores, true), FinalizerDecision::Continue(None));
        }
    }

    #[test]
    fn a_cluster_is_held_while_it_has_stores() {
        assert_eq!(decide(&wish(false, false), false, true, false), FinalizerDecision::Continue(Some(true)));
        assert_eq!(decide(&wish(false, false), true, false, false), FinalizerDecision::Continue(Some(false)));
        assert_eq!(decide(&wish(true, false), true, true, false), FinalizerDecision::Continue(None));
        assert_eq!(decide(&wish(true, false), true, false, false), FinalizerDecision::Release);
        assert_eq!(decide(&wish(true, false), true, true, true), FinalizerDecision::Release);
        assert_eq!(decide(&wish(true, false), false, true, false), FinalizerDecision::Ignore);
    }
}
