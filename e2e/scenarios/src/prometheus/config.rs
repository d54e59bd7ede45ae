//! Configuration of Prometheus: selection of the pods and of their labels.

use super::Access;
use serde_json::{Value, json};

/// Scrape interval, short enough for scenarios to wait for scrapes.
const SCRAPE_INTERVAL: &str = "1s";

/// Returns the name of a pod label in the discovery metadata.
fn label(name: &str) -> String {
    let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("__meta_kubernetes_pod_label_{plain}")
}

/// Returns the configuration: scrapes every port `http-metrics` of running Taffrail pods, and nothing else. The result
/// is JSON, a subset of YAML.
pub(super) fn config(access: &Access) -> Value {
    let only = |source: &str, wanted: &str| json!({"source_labels": [source], "regex": wanted, "action": "keep"});
    let becomes = |source: &str, target: &str| json!({"source_labels": [source], "target_label": target});
    json!({
        "global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL},
        "scrape_configs": [{
            "job_name": "taffrail",
            "kubernetes_sd_configs": [{
                "role": "pod",
                "api_server": access.server,
                "authorization": {"credentials_file": access.token},
                "tls_config": {"ca_file": access.authority},
                "namespaces": {"names": access.namespaces},
            }],
            "relabel_configs": [
                only(&label("app.kubernetes.io/name"), "taffrail"),
                only("__meta_kubernetes_pod_container_port_name", "http-metrics"),
                {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Succeeded|Failed", "action": "drop"},
                becomes("__meta_kubernetes_namespace", "namespace"),
                becomes("__meta_kubernetes_pod_name", "pod"),
                becomes("__meta_kubernetes_pod_node_name", "node"),
                becomes(&label("app.kubernetes.io/component"), "component"),
                becomes(&label("taffrail.io/cluster"), "cluster"),
            ],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_with_the_token_and_only_where_it_is_good() {
        let access = Access {
            server: "https://10.0.0.1:6443".into(),
            authority: "/run/authority.pem".into(),
            token: "/run/token".into(),
            namespaces: vec!["orders".into(), "taffrail-system".into()],
        };
        let config = config(&access);
        let discovery = &config["scrape_configs"][0]["kubernetes_sd_configs"][0];
        assert_eq!(discovery["authorization"]["credentials_file"], "/run/token");
        assert_eq!(discovery["tls_config"], json!({"ca_file": "/run/authority.pem"}), "the certificate is verified");
        assert_eq!(discovery["namespaces"], json!({"names": ["orders", "taffrail-system"]}));
    }

    #[test]
    fn labels_are_named_as_discovery_names_them() {
        assert_eq!(label("app.kubernetes.io/name"), "__meta_kubernetes_pod_label_app_kubernetes_io_name");
    }
}
