//! A Cluster has our finalizer while it has EventStores: their cleanup needs its nodes. Its volumes and its identity stay
//! in any case.

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::apply::Owned;
use crate::context::Context;
use crate::error::Error;
use crate::resources::labels::FINALIZER;

/// Whether the object has our finalizer.
pub(crate) fn is_held<K: Owned>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Sets or removes our finalizer on exactly the version that was read.
pub(crate) async fn hold<K: Owned>(ctx: &Context, object: &K, wanted: bool) -> Result<(), Error> {
    if is_held(object) == wanted {
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
        // Gone: then nothing holds it any more.
        Err(kube::Error::Api(status)) if !wanted && status.is_not_found() => Ok(()),
        Err(error) => Err(Error::api(format!("changing the finalizers of {kind} {name}"))(error)),
    }
}

/// Whether the namespace is going away, and all in it.
pub(crate) async fn namespace_terminating(ctx: &Context, namespace: &str) -> Result<bool, Error> {
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    match namespaces.get_metadata_opt(namespace).await {
        Ok(found) => Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some())),
        // An operator of a few namespaces may not read them; then the cleanup goes its ordinary way.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        Err(error) => Err(Error::api("reading the namespace")(error)),
    }
}
