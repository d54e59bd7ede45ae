//! YAML of the Cluster and the EventStores of scenarios.

/// Returns the YAML of the Cluster `main`.
#[must_use]
pub fn cluster(replicas: u32) -> String {
    format!(
        "apiVersion: taffrail.io/v1alpha1\nkind: Cluster\nmetadata: {{name: main}}\nspec: {{replicas: {replicas}, storage: {{size: 1Gi}}}}\n"
    )
}

/// Returns the YAML of an EventStore of the Cluster `main`, starting with a document separator. `extra_spec` continues
/// the fields of the spec, as in `, deletionPolicy: Delete`.
#[must_use]
pub fn event_store(name: &str, replicas: u32, extra_spec: &str) -> String {
    format!(
        "---\napiVersion: taffrail.io/v1alpha1\nkind: EventStore\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: main}}, replicas: {replicas}{extra_spec}}}\n"
    )
}
