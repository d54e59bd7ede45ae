//! Volume of each node of a Cluster.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::StorageSize;

/// Volume of each node. Volumes are always kept: neither scaling down nor deleting the Cluster removes a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("storage.size cannot shrink")
        .field_path(".size"),
    // The rule is on the struct: a rule on an optional field does not run when the field is added or removed.
    validation = Rule::new(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    )
    .message("storage.storageClassName is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the volume, such as 10Gi. The size may grow, never shrink; an existing Cluster keeps the size of its
    /// volumes for now.
    pub size: StorageSize,
    /// Storage class of the volume; the default class of Kubernetes if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub storage_class_name: Option<String>,
}
