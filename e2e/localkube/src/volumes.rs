//! The persistent volumes of a cluster as Kubernetes objects.

use crate::{error::Error, instance::Instance, kubectl::Kubectl, names::NodeId};
use serde_json::{Value, json};

/// The default class: directories on each node.
pub const STORAGE_CLASS: &str = "local";
/// Volumes with an enforced capacity, for tests of full disks. A separate class prevents accidental use.
pub const LIMITED_STORAGE_CLASS: &str = "local-limited";

/// Label of the volumes created by this crate.
pub(crate) const VOLUME_LABEL: &str = "localkube.taffrail.dev/volume";

/// Returns the names of the initial volumes of every node.
pub(crate) fn initial_names(instance: &Instance) -> impl Iterator<Item = String> + use<> {
    (0..instance.volumes_per_node).map(|number| format!("{number:02}"))
}

/// Returns the name of the PersistentVolume object of a volume.
pub(crate) fn object_name(node: NodeId, volume: &str) -> String {
    format!("local-{node}-{volume}")
}

/// Parses the name of a PersistentVolume into node and volume.
pub(crate) fn parse_object_name(name: &str) -> Result<(NodeId, &str), Error> {
    let unknown = || Error::UnknownVolume(name.to_owned());
    let (node, volume) = name.strip_prefix("local-").and_then(|rest| rest.split_once('-')).ok_or_else(unknown)?;
    Ok((node.parse().map_err(|_| unknown())?, volume))
}

/// Returns the PersistentVolume object of `volume` on `node`. Node and volume can be derived from the name
/// of the object.
pub(crate) fn persistent_volume(instance: &Instance, node: NodeId, volume: &str, class: &str, capacity: &str) -> Value {
    let on_node = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": object_name(node, volume), "labels": {VOLUME_LABEL: volume}},
        "spec": {
            "storageClassName": class,
            "capacity": {"storage": capacity},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": instance.layout().node(node).volume(volume)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": on_node}]}},
        },
    })
}

/// Returns the volumes with a deleted claim. The data still exists, and no claim can bind to these volumes.
pub(crate) async fn released(kubectl: &Kubectl) -> Result<Vec<Value>, Error> {
    let list = kubectl.json(["get", "persistentvolumes", "--selector", VOLUME_LABEL]).await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().filter(|item| item["status"]["phase"] == "Released").collect())
}

/// Returns a copy of `volume` without its claim.
pub(crate) fn unclaimed(volume: &Value) -> Value {
    let mut spec = volume["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("claimRef");
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume["metadata"]["name"], "labels": volume["metadata"]["labels"]},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_lead_back_to_the_volume() {
        let node: NodeId = "node2".parse().unwrap();
        assert_eq!(parse_object_name(&object_name(node, "limited-03")).unwrap(), (node, "limited-03"));
        for foreign in ["pvc-123", "local-node2", "local-host-01"] {
            assert!(matches!(parse_object_name(foreign), Err(Error::UnknownVolume(_))), "{foreign}");
        }
    }

    #[test]
    fn a_freed_volume_keeps_its_place_and_forgets_its_claim() {
        let used = json!({
            "metadata": {"name": "local-node1-00", "labels": {"a": "b"}, "uid": "u", "resourceVersion": "7"},
            "spec": {"capacity": {"storage": "10Gi"}, "claimRef": {"name": "data"}, "local": {"path": "/v"}},
            "status": {"phase": "Released"},
        });
        let free = unclaimed(&used);
        assert_eq!(free["metadata"], json!({"name": "local-node1-00", "labels": {"a": "b"}}));
        assert_eq!(free["spec"], json!({"capacity": {"storage": "10Gi"}, "local": {"path": "/v"}}));
    }
}
