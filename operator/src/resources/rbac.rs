//! What the nodes may do: read the EndpointSlices of their own namespace, nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::{Frame, names};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The identity of the node pods. The token is not mounted by itself: the pod projects one where it needs it.
pub fn service_account(frame: Frame<'_>) -> ServiceAccount {
    let mut metadata = frame.meta(names::config(frame.name()));
    let annotations = &frame.cluster.spec.pod_template.service_account_annotations;
    if !annotations.is_empty() {
        metadata.annotations = Some(annotations.clone());
    }
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

/// Reading EndpointSlices, to find the peers.
pub fn role(frame: Frame<'_>) -> Role {
    Role {
        metadata: frame.meta(names::config(frame.name())),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec!["discovery.k8s.io".to_owned()]),
            resources: Some(vec!["endpointslices".to_owned()]),
            verbs: ["get", "list", "watch"].map(str::to_owned).into(),
            ..PolicyRule::default()
        }]),
    }
}

/// Gives [`role`] to [`service_account`].
pub fn role_binding(frame: Frame<'_>) -> RoleBinding {
    let name = names::config(frame.name());
    RoleBinding {
        metadata: frame.meta(name.clone()),
        role_ref: RoleRef { api_group: GROUP.to_owned(), kind: "Role".to_owned(), name: name.clone() },
        subjects: Some(vec![Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(frame.namespace().to_owned()),
        }]),
    }
}
