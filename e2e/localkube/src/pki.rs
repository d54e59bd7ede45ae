//! The certificate authority of a cluster, the certificates of its components, and kubeconfigs.

use crate::{
    error::{Error, Io},
    instance::Instance,
    layout::Layout,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Name of the client certificate presented by the API server to kubelets.
pub(crate) const API_TO_KUBELET: &str = "apiserver-to-kubelet";
/// Name of the serving certificate of the API server.
pub(crate) const API_SERVER: &str = "apiserver";
/// Name of the certificate authority.
pub(crate) const AUTHORITY: &str = "ca";
/// Name of the key for signing service account tokens.
pub(crate) const SERVICE_ACCOUNT: &str = "service-account";

/// Subject of a certificate. Kubernetes derives user and groups from common name and organization.
struct Identity<'a> {
    /// Base name of the certificate and key files.
    who: &'a str,
    common_name: String,
    organization: Option<&'static str>,
    names: Vec<String>,
    addresses: Vec<Ipv4Addr>,
}

impl<'a> Identity<'a> {
    fn client(who: &'a str, common_name: impl Into<String>, organization: Option<&'static str>) -> Self {
        Self { who, common_name: common_name.into(), organization, names: Vec::new(), addresses: Vec::new() }
    }
}

/// Writes all certificates, keys and kubeconfigs of a cluster.
pub(crate) fn write(instance: &Instance) -> Result<(), Error> {
    let layout = instance.layout();
    let authority = authority(&layout)?;
    for identity in api_identities(instance) {
        issue(&layout, &authority, &identity)?;
    }
    let api = instance.api_url();
    let clients = [
        ("admin", "kubernetes-admin", Some("system:masters")),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("coredns", super::objects::DNS_USER, None),
    ];
    for (who, common_name, organization) in clients {
        issue(&layout, &authority, &Identity::client(who, common_name, organization))?;
        write_kubeconfig(&layout, instance.name.as_str(), who, &api)?;
    }
    for node in instance.node_ids() {
        let who = node.to_string();
        let address = instance.network.node(node);
        let mut identity = Identity::client(&who, format!("system:node:{node}"), Some("system:nodes"));
        identity.names.push(who.clone());
        identity.addresses.push(address);
        issue(&layout, &authority, &identity)?;
        // Each kubelet reaches the API server at the node's own address, so a cut of this address isolates
        // only this kubelet.
        write_kubeconfig(&layout, instance.name.as_str(), &who, &format!("https://{address}:{}", Instance::API_PORT))?;
    }
    service_account_key(&layout)
}

fn api_identities(instance: &Instance) -> [Identity<'static>; 2] {
    let network = &instance.network;
    let mut server = Identity::client(API_SERVER, "kube-apiserver", None);
    server.names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .to_vec();
    server.addresses = vec![Ipv4Addr::LOCALHOST, network.kubernetes_service(), network.api()];
    server.addresses.extend(instance.node_ids().map(|node| network.node(node)));
    [server, Identity::client(API_TO_KUBELET, "apiserver-to-kubelet", Some("system:masters"))]
}

fn authority(layout: &Layout) -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let failed = |source| Error::Certificate { who: AUTHORITY.to_owned(), source };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "taffrail-local-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(failed)?;
    let key_pem = key.serialize_pem();
    let authority = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
    write_public(&layout.certificate(AUTHORITY), &authority.pem())?;
    write_secret(&layout.key(AUTHORITY), &key_pem)?;
    Ok(authority)
}

fn issue(layout: &Layout, authority: &CertifiedIssuer<'static, KeyPair>, identity: &Identity<'_>) -> Result<(), Error> {
    let failed = |source| Error::Certificate { who: identity.who.to_owned(), source };
    let mut params = CertificateParams::new(identity.names.clone()).map_err(failed)?;
    params.subject_alt_names.extend(identity.addresses.iter().map(|address| SanType::IpAddress(IpAddr::V4(*address))));
    params.distinguished_name.push(DnType::CommonName, identity.common_name.as_str());
    if let Some(organization) = identity.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, authority).map_err(failed)?;
    write_public(&layout.certificate(identity.who), &certificate.pem())?;
    write_secret(&layout.key(identity.who), &key.serialize_pem())
}

fn service_account_key(layout: &Layout) -> Result<(), Error> {
    let key = KeyPair::generate().map_err(|source| Error::Certificate { who: SERVICE_ACCOUNT.to_owned(), source })?;
    write_secret(&layout.key(SERVICE_ACCOUNT), &key.serialize_pem())?;
    write_public(&layout.service_account_public_key(), &key.public_key_pem())
}

/// Writes a kubeconfig as JSON, a subset of YAML, so the serializer handles quoting.
fn write_kubeconfig(layout: &Layout, cluster: &str, who: &str, server: &str) -> Result<(), Error> {
    let context = format!("taffrail-{cluster}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {
            "server": server, "certificate-authority": layout.certificate(AUTHORITY)}}],
        "users": [{"name": who, "user": {
            "client-certificate": layout.certificate(who), "client-key": layout.key(who)}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": who}}],
        "current-context": context,
    });
    write_secret(&layout.kubeconfig(who), &format!("{config:#}\n"))
}

fn write_public(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Io::new("write", path, source).into())
}

fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    write_public(path, text)?;
    let owner_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, owner_only).map_err(|source| Io::new("set the mode of", path, source).into())
}
