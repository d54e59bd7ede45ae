//! The Kubernetes objects that a new cluster begins with: DNS, storage classes and the volumes of every node.

use std::fs;

use serde_json::{Value, json};

use super::config::NodeId;
use super::error::{Error, Io};
use super::machine::Machine;
use super::volumes;

/// As whom CoreDNS watches Services.
pub(crate) const DNS_USER: &str = "system:coredns";

/// The default class: directories on each node.
pub const STORAGE_CLASS: &str = "local";
/// Volumes of limited size, for running out of space. A class of its own, so that nobody gets one by accident.
pub const LIMITED_STORAGE_CLASS: &str = "local-limited";

/// Tells the volumes that this code made from others.
pub(crate) const VOLUME_LABEL: &str = "localkube.taffrail.dev/volume";

/// Writes all of them as one list.
pub(crate) fn write(machine: &Machine) -> Result<(), Error> {
    let path = machine.layout().objects();
    let text = format!("{:#}\n", list(machine));
    fs::write(&path, text).map_err(|source| Io::new("write", &path, source).into())
}

fn list(machine: &Machine) -> Value {
    let mut items = dns(machine);
    items.push(storage_class(STORAGE_CLASS, true));
    items.push(storage_class(LIMITED_STORAGE_CLASS, false));
    for node in machine.node_ids() {
        for volume in volumes::pool(machine) {
            items.push(persistent_volume(machine, node, &volume, STORAGE_CLASS, "10Gi"));
        }
    }
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// The usual names, so that whatever looks for the cluster's DNS finds it. Its endpoint is the process beside the API server.
fn dns(machine: &Machine) -> Vec<Value> {
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
            "spec": {"clusterIP": machine.network.dns_service(), "ports": ports(true)},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [machine.network.api()], "conditions": {"ready": true}}],
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

/// The volume `volume` of `node` as an object. It says everything that is needed to find its directory again.
pub(crate) fn persistent_volume(machine: &Machine, node: NodeId, volume: &str, class: &str, capacity: &str) -> Value {
    let on_node = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volumes::object_name(node, volume), "labels": {VOLUME_LABEL: volume}},
        "spec": {
            "storageClassName": class,
            "capacity": {"storage": capacity},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": machine.layout().node(node).volume(volume)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": on_node}]}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::sample;
    use super::*;

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
        let machine = sample("one", 1);
        let objects = dns(&machine);
        assert_eq!(objects[2]["spec"]["clusterIP"], "10.225.0.10");
        assert_eq!(objects[3]["endpoints"][0]["addresses"][0], "10.192.1.2");
    }
}
