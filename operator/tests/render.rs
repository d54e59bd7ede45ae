//! Golden files of all rendered objects. `make fix` rewrites the files. Review the difference like code: a change of the pod template restarts every node.

use serde::Serialize;
use std::path::PathBuf;
use taffrail_crds::{Cluster, EventStore};
use taffrail_operator::resources::{
    RenderTarget, config, disruption_budget, hash, identity, rbac, services, stateful_set,
};

const ID: &str = "0198f3c2-7d54-7cc2-9b0e-2f6f0f2f9a10";

fn cluster(spec: serde_json::Value) -> Cluster {
    let cluster = serde_json::json!({
        "apiVersion": "taffrail.io/v1alpha1", "kind": "Cluster",
        "metadata": {"name": "main", "namespace": "default", "uid": "7d54"}, "spec": spec,
    });
    serde_json::from_value(cluster).expect("a Cluster")
}

fn minimal() -> Cluster {
    cluster(serde_json::json!({"replicas": 3, "storage": {"size": "10Gi"}}))
}

fn full() -> Cluster {
    cluster(serde_json::json!({
        "replicas": 3,
        "image": "registry.example:5000/taffrail:1.2.3",
        "storage": {"size": "1024Gi", "storageClassName": "fast"},
        "resources": {"requests": {"cpu": "1000m"}, "limits": {"memory": "2048Mi"}},
        "settings": {"eventBytesMax": 1_048_576, "batchBytesMax": 8_388_608, "drainDelaySeconds": 7},
        "placement": {"antiAffinity": "Required"},
        "gateway": {"domains": ["events.example"]},
        "defaultStore": "orders",
        "podTemplate": {
            "labels": {"team": "a"}, "annotations": {"note": "b"}, "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "events", "effect": "NoSchedule"}],
            "priorityClassName": "high", "imagePullSecrets": [{"name": "pull"}],
            "serviceAccountAnnotations": {"role": "r"}, "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
            "env": [{"name": "TZ", "value": "UTC"}, {"name": "POD_IP", "value": "ignored"}, {"name": "EMPTY"}],
            "terminationGracePeriodSeconds": 90,
        },
    }))
}

fn store(service: &str) -> EventStore {
    let store = serde_json::json!({
        "apiVersion": "taffrail.io/v1alpha1", "kind": "EventStore",
        "metadata": {"name": "orders", "namespace": "default", "uid": "9b0e"},
        "spec": {"clusterRef": {"name": "main"}, "replicas": 3, "service": {"type": service}},
    });
    serde_json::from_value(store).expect("an EventStore")
}

fn yaml(object: &impl Serialize) -> String {
    serde_yaml_ng::to_string(object).expect("YAML")
}

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TAFFRAIL_FIX").is_some() {
        std::fs::write(&path, text).expect("writing the golden file");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; run `make fix` and review the change");
}

fn all(cluster: &Cluster, claim_size: Option<&str>) -> String {
    let target = RenderTarget { cluster, cluster_domain: "cluster.local" };
    let text = config::render(target).expect("TOML");
    let config_hash = hash::of(&text).expect("a hash");
    let image = cluster.spec.image.clone().unwrap_or_else(|| "taffrail:0.1.0".to_owned());
    let set = stateful_set::render(
        target,
        &stateful_set::Inputs {
            replicas: cluster.spec.replicas,
            image: &image,
            config_hash: &config_hash,
            cluster_id: Some(ID),
            claim_size,
        },
    );
    let identity = identity::Identity { cluster_id: ID.to_owned(), formed: true, nodes: Some(3) };
    let mut documents = vec![
        yaml(&config::config_map(target, text, "taffrail:0.1.0")),
        yaml(&identity::render(target, &identity)),
        yaml(&rbac::service_account(target)),
        yaml(&rbac::role(target)),
        yaml(&rbac::role_binding(target)),
        yaml(&disruption_budget::render(target, cluster.spec.replicas)),
        yaml(&set),
    ];
    documents.extend(services::of_cluster(target).iter().map(yaml));
    documents.join("---\n")
}

#[test]
fn objects_of_a_minimal_cluster() {
    golden("minimal.yaml", &all(&minimal(), None));
}

#[test]
fn objects_of_a_cluster_with_every_field() {
    golden("full.yaml", &all(&full(), Some("512Gi")));
}

#[test]
fn services_of_a_store() {
    let services: Vec<String> = ["ExternalName", "ClusterIP"]
        .iter()
        .map(|kind| yaml(&services::of_store(&store(kind), "cluster.local")))
        .collect();
    golden("store.yaml", &services.join("---\n"));
    assert!(services::of_store(&store("None"), "cluster.local").is_none());
}

#[test]
fn small_clusters_have_no_budget() {
    let cluster = minimal();
    let target = RenderTarget { cluster: &cluster, cluster_domain: "cluster.local" };
    for (nodes, budget) in [(1, false), (2, false), (3, true), (5, true)] {
        assert_eq!(disruption_budget::render(target, nodes).is_some(), budget, "{nodes}");
    }
}

#[test]
fn volumes_are_always_retained_and_pods_never_have_an_empty_dir() {
    let text = all(&full(), None);
    assert!(text.contains("whenDeleted: Retain") && text.contains("whenScaled: Retain"));
    assert!(!text.contains("emptyDir"));
}

#[test]
fn an_identity_is_read_as_it_was_written() {
    let cluster = minimal();
    let target = RenderTarget { cluster: &cluster, cluster_domain: "cluster.local" };
    for (formed, nodes) in [(false, None), (true, Some(5))] {
        let written = identity::Identity { cluster_id: ID.to_owned(), formed, nodes };
        assert_eq!(identity::parse(&identity::render(target, &written)), Some(written));
    }
    assert_eq!(identity::parse(&k8s_openapi::api::core::v1::ConfigMap::default()), None);
}
