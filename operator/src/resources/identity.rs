//! ConfigMap `<cluster>-identity`: the cluster id, created once. The data is immutable, and the ConfigMap has
//! no owner, so the identity outlives the Cluster like the volumes do. Mutable facts (formed or not, current
//! size) are annotations.

use super::{labels, names, render_target::RenderTarget};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use taffrail_crds::names::ClusterId;

const CLUSTER_ID_KEY: &str = "clusterId";

/// Recorded identity of a Cluster's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster id.
    pub cluster_id: String,
    /// The Cluster was formed under this identity.
    pub formed: bool,
    /// Number of pods that the StatefulSet should have; unknown for an identity restored from annotations.
    pub nodes: Option<i32>,
}

/// Builds the ConfigMap of an identity.
pub fn render(target: RenderTarget<'_>, identity: &Identity) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::identity(target.name())),
            namespace: Some(target.namespace().to_owned()),
            labels: Some(labels::of_cluster(target.name())),
            annotations: Some(annotations(identity).into_iter().collect()),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some([(CLUSTER_ID_KEY.to_owned(), identity.cluster_id.clone())].into()),
        ..ConfigMap::default()
    }
}

/// Returns the annotations for the mutable part of an identity.
pub(crate) fn annotations(identity: &Identity) -> Vec<(String, String)> {
    let mut all = vec![(labels::FORMED.to_owned(), identity.formed.to_string())];
    if let Some(nodes) = identity.nodes {
        all.push((labels::NODES.to_owned(), nodes.to_string()));
    }
    all
}

/// Reads an identity. `None`: the ConfigMap holds no cluster id, so the ConfigMap is foreign.
pub fn parse(map: &ConfigMap) -> Option<Identity> {
    let id: ClusterId = map.data.as_ref()?.get(CLUSTER_ID_KEY)?.parse().ok()?;
    let annotation = |key: &str| map.metadata.annotations.as_ref()?.get(key).cloned();
    Some(Identity {
        cluster_id: id.into(),
        formed: annotation(labels::FORMED).as_deref() == Some("true"),
        nodes: annotation(labels::NODES).and_then(|text| text.parse().ok()).filter(|n| (0..=99).contains(n)),
    })
}
