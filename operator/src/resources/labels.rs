//! Labels and annotations of the objects that the operator writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;
use taffrail_crds::labels::{
    APP, APP_VERSION, CLUSTER, COMPONENT, INSTANCE, MANAGED_BY, MANAGED_BY_OPERATOR, NAME, STORE,
};

/// Component label of node pods.
pub(crate) const NODE: &str = "node";
/// Annotation: hash of the last applied content, so that a reconcile without change writes nothing.
pub(crate) const APPLIED: &str = "taffrail.io/applied";
/// Annotation of a pod template: hash of the configuration, so that a changed configuration restarts the pods.
pub(crate) const CONFIG_HASH: &str = "taffrail.io/config";
/// Annotation of the StatefulSet and of volume claims: cluster id of the data.
pub(crate) const CLUSTER_ID: &str = "taffrail.io/cluster-id";
/// Annotation of the StatefulSet: version of the template.
pub(crate) const TEMPLATE_VERSION: &str = "taffrail.io/template-version";
/// Annotation of the node ConfigMap: default image of the time when the Cluster was created.
pub(crate) const DEFAULT_IMAGE: &str = "taffrail.io/default-image";
/// Annotation of the identity: the Cluster was formed, and is never formed again.
pub(crate) const FORMED: &str = "taffrail.io/formed";
/// Annotation of the identity: number of pods that the StatefulSet should have, recorded independently
/// of the StatefulSet.
pub(crate) const NODES: &str = "taffrail.io/nodes";
/// Finalizer of Clusters and EventStores.
pub(crate) const FINALIZER: &str = "taffrail.io/cleanup";

/// Returns the labels of every object of a Cluster.
pub(crate) fn of_cluster(cluster: &str) -> BTreeMap<String, String> {
    map([(NAME, APP), (INSTANCE, cluster), (COMPONENT, NODE), (MANAGED_BY, MANAGED_BY_OPERATOR), (CLUSTER, cluster)])
}

/// Returns the labels of an object of an EventStore.
pub(crate) fn of_store(cluster: &str, store: &str) -> BTreeMap<String, String> {
    map([(NAME, APP), (INSTANCE, cluster), (MANAGED_BY, MANAGED_BY_OPERATOR), (CLUSTER, cluster), (STORE, store)])
}

/// Returns [`selecting`] as a selector.
pub(crate) fn selector(cluster: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(selecting(cluster)), match_expressions: None }
}

/// Returns [`selecting`] as a string, for lists and for autoscalers.
pub(crate) fn selector_text(cluster: &str) -> String {
    let parts: Vec<String> = selecting(cluster).iter().map(|(k, v)| format!("{k}={v}")).collect();
    parts.join(",")
}

/// Returns the labels used to select pods; constant during the life of a Cluster.
pub(crate) fn selecting(cluster: &str) -> BTreeMap<String, String> {
    map([(NAME, APP), (INSTANCE, cluster), (COMPONENT, NODE)])
}

/// Returns the version label: the tag of the image, if the image has a tag that is a valid label. The label changes
/// with the image, so selectors and claims must not contain the label.
pub(crate) fn version(image: &str) -> Option<(String, String)> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    let (_, tag) = name.split_once(':')?;
    // A tag consists of letters, digits, `_`, `.` and `-`; a label must not begin or end with the last three, or be
    // longer than 63 characters.
    let edges = [tag.bytes().next()?, tag.bytes().last()?];
    (tag.len() <= 63 && edges.iter().all(u8::is_ascii_alphanumeric)).then(|| (APP_VERSION.to_owned(), tag.to_owned()))
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_that_can_be_a_label() {
        let tag = |image| version(image).map(|(_, tag)| tag);
        assert_eq!(tag("registry.example.com:5000/a/taffrail:1.2.3-rc.1").as_deref(), Some("1.2.3-rc.1"));
        assert_eq!(tag("taffrail:dev@sha256:0123").as_deref(), Some("dev"));
        let long = format!("taffrail:{}", "a".repeat(64));
        for none in ["registry.example.com:5000/taffrail", "taffrail@sha256:0123", "taffrail:_x", "taffrail:x-", &long]
        {
            assert_eq!(tag(none), None, "{none}");
        }
    }
}
