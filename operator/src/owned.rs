//! [`Owned`]: trait of the objects written by the operator, and the ownership check.

use k8s_openapi::NamespaceResourceScope;
use kube::core::Resource;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// Bounds of every object written by the operator.
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

/// Returns whether the controller of `object` has the UID `uid`.
pub(crate) fn is_owned<K: Resource>(object: &K, uid: &str) -> bool {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
