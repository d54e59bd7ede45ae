//! Objects that the operator writes, and whether a controller owns one.

use k8s_openapi::NamespaceResourceScope;
use kube::core::Resource;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// Bounds that every object the operator writes meets.
pub(crate) trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync
{
}

impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
{
}

/// Whether the controller of this object has this UID.
pub(crate) fn is_owned<K: Resource>(object: &K, uid: &str) -> bool {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
