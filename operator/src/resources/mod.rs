//! Builders of Kubernetes objects: spec in, object out, no client in sight. Golden files pin the result.

pub mod config;
pub mod disruption_budget;
pub mod hash;
pub mod identity;
pub mod labels;
pub mod rbac;
pub mod services;
pub mod stateful_set;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use taffrail_crds::Cluster;

/// What the builders of a Cluster's objects need to know beside its spec.
#[derive(Clone, Copy, Debug)]
pub struct RenderTarget<'a> {
    /// The Cluster, as read from the API server.
    pub cluster: &'a Cluster,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: &'a str,
}

impl RenderTarget<'_> {
    /// Name of the Cluster.
    pub fn name(&self) -> &str {
        self.cluster.metadata.name.as_deref().unwrap_or_default()
    }

    /// Namespace of the Cluster.
    pub fn namespace(&self) -> &str {
        self.cluster.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Metadata of an object that belongs to the Cluster and goes with it.
    fn meta(&self, name: String) -> ObjectMeta {
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

    /// The ConfigMap that the nodes read, and the default image that the Cluster was created with.
    ///
    /// # Errors
    /// The settings cannot be written as TOML.
    pub fn node_config_map(&self, text: String, default_image: &str) -> ConfigMap {
        let mut metadata = self.meta(names::config(self.name()));
        metadata.annotations = Some([(labels::DEFAULT_IMAGE.to_owned(), default_image.to_owned())].into());
        ConfigMap { metadata, data: Some([(config::KEY.to_owned(), text)].into()), ..ConfigMap::default() }
    }
}

/// Names of the objects of a Cluster.
pub mod names {
    /// The StatefulSet and the disruption budget.
    pub fn set(cluster: &str) -> String {
        cluster.to_owned()
    }

    /// The pod of an ordinal.
    pub fn pod(cluster: &str, ordinal: i32) -> String {
        format!("{cluster}-{ordinal}")
    }

    /// The ordinal of a pod, if this is a pod of the Cluster.
    pub fn ordinal(cluster: &str, pod: &str) -> Option<i32> {
        let digits = pod.strip_prefix(cluster)?.strip_prefix('-')?;
        let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        if canonical { digits.parse().ok() } else { None }
    }

    /// The volume claim of an ordinal.
    pub fn claim(cluster: &str, ordinal: i32) -> String {
        format!("data-{cluster}-{ordinal}")
    }

    /// The Service for clients.
    pub fn clients(cluster: &str) -> String {
        format!("{cluster}-clients")
    }

    /// The headless Service of all nodes.
    pub fn peers(cluster: &str) -> String {
        format!("{cluster}-peers")
    }

    /// The headless Service of ready nodes.
    pub fn ready(cluster: &str) -> String {
        format!("{cluster}-ready")
    }

    /// The ConfigMap, ServiceAccount, Role and RoleBinding of the nodes.
    pub fn config(cluster: &str) -> String {
        format!("{cluster}-node")
    }

    /// The ConfigMap with the identity of the Cluster's data.
    pub fn identity(cluster: &str) -> String {
        format!("{cluster}-identity")
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn an_ordinal_is_only_read_from_a_pod_of_the_cluster() {
            assert_eq!(super::ordinal("main", "main-12"), Some(12));
            for other in ["main", "main-", "main-01", "main-x", "main-2-3", "mainly-2", "main-+1"] {
                assert_eq!(super::ordinal("main", other), None, "{other}");
            }
        }
    }
}
