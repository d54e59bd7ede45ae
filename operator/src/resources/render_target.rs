//! [`RenderTarget`]: the Cluster whose objects are rendered.

use super::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use taffrail_crds::Cluster;

/// Input for the builders of a Cluster's objects, besides the spec.
#[derive(Clone, Copy, Debug)]
pub struct RenderTarget<'a> {
    /// The Cluster, as read from the API server.
    pub cluster: &'a Cluster,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: &'a str,
}

impl RenderTarget<'_> {
    /// Name of the Cluster.
    pub(crate) fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace of the Cluster.
    pub(crate) fn namespace(&self) -> &str {
        self.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Returns the metadata of an object that is owned by the Cluster and deleted with the Cluster.
    pub(super) fn meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace().to_owned()),
            labels: Some(labels::of_cluster(self.name())),
            owner_references: self.owner().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> Option<OwnerReference> {
        self.cluster.controller_owner_ref(&())
    }
}
