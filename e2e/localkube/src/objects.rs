//! The initial Kubernetes objects of a cluster: DNS, storage classes and the volumes of every node.

use crate::{
    error::{Error, Io},
    instance::Instance,
    volumes::{self, LIMITED_STORAGE_CLASS, STORAGE_CLASS},
};
use serde_json::{Value, json};
use std::fs;

/// The user of CoreDNS at the API server.
pub(crate) const DNS_USER: &str = "system:coredns";

/// Writes all initial objects as a `List`.
pub(crate) fn write(instance: &Instance) -> Result<(), Error> {
    let path = instance.layout().objects();
    let text = format!("{:#}\n", list(instance));
    fs::write(&path, text).map_err(|source| Io::new("write", &path, source).into())
}

fn list(instance: &Instance) -> Value {
    let mut items = dns(instance);
    items.push(storage_class(STORAGE_CLASS, true));
    items.push(storage_class(LIMITED_STORAGE_CLASS, false));
    for node in instance.node_ids() {
        for volume in volumes::initial_names(instance) {
            items.push(volumes::persistent_volume(instance, node, &volume, STORAGE_CLASS, "10Gi"));
        }
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Returns the objects of the cluster DNS, under the conventional names. The endpoint is the CoreDNS process beside
/// the API server.
fn dns(instance: &Instance) -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io";
    let ports = |with_target: bool| {
        let port = |name: &str, protocol: &str| {
            let mut port = json!({"name": name, "protocol": protocol, "port": 53});
            if with_target {
                port["targetPort"] = json!(53);
            }
            port
        };
        [port("dns", "UDP"), port("dns-tcp", "TCP")]
    };
    vec![
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": DNS_USER},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": DNS_USER},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": DNS_USER},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": DNS_USER}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": instance.network.dns_service(), "ports": ports(true)},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [instance.network.api()], "conditions": {"ready": true}}],
            "ports": ports(false),
        }),
    ]
}

fn storage_class(name: &str, default: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::sample;

    #[test]
    fn every_node_offers_its_volumes_on_itself() {
        let list = list(&sample("one", 0));
        let items = list["items"].as_array().unwrap();
        let volumes: Vec<_> = items.iter().filter(|item| item["kind"] == "PersistentVolume").collect();
        assert_eq!(volumes.len(), 6);
        let last = volumes[5];
        assert_eq!(last["metadata"]["name"], "local-node3-01");
        assert_eq!(last["spec"]["local"]["path"], "/state/one/node3/volumes/01");
        let terms = &last["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"][0]["values"][0], "node3");
    }

    #[test]
    fn exactly_one_class_is_the_default() {
        let list = list(&sample("one", 0));
        let default =
            |item: &&Value| item["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
        let names: Vec<_> = list["items"].as_array().unwrap().iter().filter(default).collect();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0]["metadata"]["name"], STORAGE_CLASS);
    }

    #[test]
    fn dns_is_where_the_pods_look_for_it() {
        let instance = sample("one", 1);
        let objects = dns(&instance);
        assert_eq!(objects[2]["spec"]["clusterIP"], "10.225.0.10");
        assert_eq!(objects[3]["endpoints"][0]["addresses"][0], "10.192.1.2");
    }
}
