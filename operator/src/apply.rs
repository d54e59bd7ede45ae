//! Writer of owned objects: first a plain create, so that a foreign object is never adopted; then a server-side apply
//! with the UID of the object; no write at all without a difference.

use crate::{
    error::Error,
    metrics::Metrics,
    name_conflict::NameConflict,
    owned::{Owned, is_owned},
    resources::{hash, labels},
};
use kube::{
    Client, ResourceExt,
    api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};

/// Field manager of owned objects.
pub(crate) const MANAGER: &str = "taffrail-operator";
/// Field manager of the status of Clusters and EventStores.
pub(crate) const STATUS_MANAGER: &str = "taffrail-operator-status";

/// Owner of the written objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// UID of the owning object.
    pub(crate) uid: &'a str,
    /// Namespace of the owner and of the written objects.
    pub(crate) namespace: &'a str,
}

/// Writer of owned objects.
#[derive(Clone)]
pub(crate) struct Writer {
    client: Client,
    metrics: Metrics,
}

impl Writer {
    /// Creates a writer for all namespaces.
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// Creates or updates an object to match `desired`. `known` is the object from a cache or a read. Returns whether
    /// a write happened.
    ///
    /// # Errors
    /// A foreign object uses the name, or the API server fails.
    pub(crate) async fn ensure<K: Owned>(
        &self,
        owner: Owner<'_>,
        desired: &K,
        known: Option<&K>,
    ) -> Result<bool, Error> {
        self.ensure_at(owner, desired, known, None).await
    }

    /// Like [`Self::ensure`], but fails with a conflict if the object is no longer at `resource_version`.
    ///
    /// # Errors
    /// Same as [`Self::ensure`].
    pub(crate) async fn ensure_at<K: Owned>(
        &self,
        owner: Owner<'_>,
        desired: &K,
        known: Option<&K>,
        resource_version: Option<&str>,
    ) -> Result<bool, Error> {
        let kind = K::kind(&()).into_owned();
        let name = desired.name_any();
        let mut wanted = to_json(desired)?;
        let stamp = hash::of(&wanted).map_err(render_error)?;
        wanted["metadata"]["annotations"][labels::APPLIED] = json!(stamp);

        let live;
        let present = if let Some(known) = known {
            known
        } else {
            if self.create::<K>(owner.namespace, &wanted, &kind, &name).await? {
                return Ok(true);
            }
            // The object exists, so the cache was behind.
            let api = self.api::<K>(owner.namespace);
            live = api.get(&name).await.map_err(Error::api(format!("reading {kind} {name}")))?;
            &live
        };
        if !is_owned(present, owner.uid) {
            return Err(Error::NameConflict { conflicts: vec![NameConflict::of::<K>(present)] });
        }
        if includes(&to_json(present)?, &wanted) {
            return Ok(false);
        }
        self.own_by_apply(owner.namespace, present, &kind, &name).await?;
        wanted["metadata"]["uid"] = json!(present.uid());
        if let Some(version) = resource_version {
            wanted["metadata"]["resourceVersion"] = json!(version);
        }
        let params = PatchParams::apply(MANAGER).force();
        self.api::<K>(owner.namespace)
            .patch(&name, &params, &Patch::Apply(&wanted))
            .await
            .map_err(Error::api(format!("applying {kind} {name}")))?;
        self.metrics.object_written(&kind);
        Ok(true)
    }

    /// Creates an object. Returns false if the name is already used.
    async fn create<K: Owned>(&self, namespace: &str, wanted: &Value, kind: &str, name: &str) -> Result<bool, Error> {
        let object: K = serde_json::from_value(wanted.clone()).map_err(render_error)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<K>(namespace).create(&params, &object).await {
            Ok(_) => {
                self.metrics.object_written(kind);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(Error::api(format!("creating {kind} {name}"))(error)),
        }
    }

    /// Converts the field ownership left by a create. A create is recorded as an "Update" of the manager, and a
    /// later apply would not remove fields still held by the "Update" entry. So before the first apply the entry
    /// becomes an "Apply" entry.
    async fn own_by_apply<K: Owned>(&self, namespace: &str, present: &K, kind: &str, name: &str) -> Result<(), Error> {
        let fields = present.managed_fields();
        let ours = |field: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
            field.manager.as_deref() == Some(MANAGER) && field.subresource.is_none()
        };
        let applied = fields.iter().filter(ours).any(|f| f.operation.as_deref() == Some("Apply"));
        let created = fields.iter().position(|f| ours(&f) && f.operation.as_deref() == Some("Update"));
        let Some(index) = created else { return Ok(()) };
        let path = format!("/metadata/managedFields/{index}");
        let change = if applied {
            json!({"op": "remove", "path": path})
        } else {
            json!({"op": "replace", "path": format!("{path}/operation"), "value": "Apply"})
        };
        let patch: kube::core::params::Patch<()> = Patch::Json(
            serde_json::from_value(json!([
                // A "replace" instead of a "test": a failed test is reported as an invalid object, a failed replace as
                // the actual conflict.
                {"op": "replace", "path": "/metadata/resourceVersion", "value": present.resource_version()},
                change,
            ]))
            .map_err(render_error)?,
        );
        self.api::<K>(namespace)
            .patch(name, &PatchParams::default(), &patch)
            .await
            .map_err(Error::api(format!("taking over the fields of {kind} {name}")))?;
        Ok(())
    }

    /// Deletes an object that is no longer rendered, if owned. Returns whether the object existed.
    ///
    /// # Errors
    /// The API server fails.
    pub(crate) async fn remove<K: Owned>(&self, owner: Owner<'_>, known: Option<&K>) -> Result<bool, Error> {
        let Some(object) = known.filter(|object| is_owned(*object, owner.uid)) else {
            return Ok(false);
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        match self.api::<K>(owner.namespace).delete(&name, &params).await {
            Ok(_) => {
                self.metrics.object_written(&kind);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(Error::api(format!("deleting {kind} {name}"))(error)),
        }
    }

    fn api<K: Owned>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

fn to_json<K: Owned>(object: &K) -> Result<Value, Error> {
    let mut value = serde_json::to_value(object).map_err(render_error)?;
    value["apiVersion"] = json!(K::api_version(&()));
    value["kind"] = json!(K::kind(&()));
    Ok(value)
}

fn render_error(error: serde_json::Error) -> Error {
    Error::Render { what: "an object", message: error.to_string() }
}

/// Returns whether `live` contains all of `wanted`. Extra fields are accepted, because the API server adds defaults.
/// Lists must match as a whole, because the operator owns each list. A field dropped from `wanted` shows in the hash
/// among the annotations.
fn includes(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| live.get(key).is_some_and(|found| includes(found, value)))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| includes(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_server_are_no_difference() {
        let wanted = json!({"spec": {"ports": [{"port": 1}], "type": "ClusterIP"}});
        let live =
            json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "type": "ClusterIP", "clusterIP": "10.0.0.1"}});
        assert!(includes(&live, &wanted));
    }

    #[test]
    fn another_value_a_missing_field_and_a_longer_list_are_differences() {
        let wanted = json!({"a": {"b": 1}, "l": [1]});
        for live in [json!({"a": {"b": 2}, "l": [1]}), json!({"l": [1]}), json!({"a": {"b": 1}, "l": [1, 2]})] {
            assert!(!includes(&live, &wanted), "{live}");
        }
    }
}
