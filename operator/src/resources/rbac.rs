//! Permissions of the nodes: read the EndpointSlices of the own namespace, nothing else.

use super::{names, render_target::RenderTarget};
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Builds the ServiceAccount of the node pods. The token is not mounted automatically: the pod template
/// projects a token.
pub fn service_account(target: RenderTarget<'_>) -> ServiceAccount {
    let mut metadata = target.meta(names::config(target.name()));
    let annotations = &target.cluster.spec.pod_template.service_account_annotations;
    if !annotations.is_empty() {
        metadata.annotations = Some(annotations.clone());
    }
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}

/// Builds the Role for reading EndpointSlices, used to find the peers.
pub fn role(target: RenderTarget<'_>) -> Role {
    Role {
        metadata: target.meta(names::config(target.name())),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec!["discovery.k8s.io".to_owned()]),
            resources: Some(vec!["endpointslices".to_owned()]),
            verbs: ["get", "list", "watch"].map(str::to_owned).into(),
            ..PolicyRule::default()
        }]),
    }
}

/// Builds the RoleBinding of [`role`] to [`service_account`].
pub fn role_binding(target: RenderTarget<'_>) -> RoleBinding {
    let name = names::config(target.name());
    RoleBinding {
        metadata: target.meta(name.clone()),
        role_ref: RoleRef { api_group: GROUP.to_owned(), kind: "Role".to_owned(), name: name.clone() },
        subjects: Some(vec![Subject {
            api_group: None,
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(target.namespace().to_owned()),
        }]),
    }
}
