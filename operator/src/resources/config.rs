//! Configuration file `node.toml` of the nodes. The keys are a contract with the node's parser; a test of the workspace
//! renders the file and parses the result with the node.

use super::{labels, names, render_target::RenderTarget};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

/// Key of the file in the ConfigMap.
pub(crate) const KEY: &str = "node.toml";
/// Directory of the configuration in the pod.
pub(crate) const MOUNT: &str = "/etc/taffrail";
/// Mount path of the volume. The data directory is a subdirectory, because a fresh file system holds `lost+found`.
pub(crate) const VOLUME_MOUNT: &str = "/var/lib/taffrail";
/// Margin between the end of an orderly stop and the kill.
const MARGIN_MS: i64 = 10_000;

#[derive(Serialize)]
struct File<'a> {
    node: Node<'a>,
    listen: Listen,
    discovery: Discovery<'a>,
    gateway: Gateway<'a>,
    limits: Limits,
    shutdown: Shutdown,
}

#[derive(Serialize)]
struct Node<'a> {
    data_dir: String,
    cluster: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
struct Listen {
    clients: &'static str,
    peers: &'static str,
    admin: &'static str,
    http: &'static str,
}

#[derive(Serialize)]
struct Discovery<'a> {
    kind: &'static str,
    service: &'a str,
}

#[derive(Serialize)]
struct Gateway<'a> {
    cluster_domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_store: Option<&'a str>,
    domains: &'a [String],
}

#[derive(Serialize)]
struct Limits {
    event_bytes_max: i64,
    batch_bytes_max: i64,
}

#[derive(Serialize)]
struct Shutdown {
    drain_delay_ms: i64,
    grace_ms: i64,
}

/// Renders the text of `node.toml`.
///
/// # Errors
/// A value has no TOML form, impossible with the types of the spec.
pub fn render(target: RenderTarget<'_>) -> Result<String, toml::ser::Error> {
    let spec = &target.cluster.spec;
    toml::to_string(&File {
        node: Node { data_dir: format!("{VOLUME_MOUNT}/data"), cluster: target.name(), namespace: target.namespace() },
        listen: Listen { clients: "[::]:2113", peers: "[::]:2114", admin: "[::]:2115", http: "[::]:9090" },
        discovery: Discovery { kind: "kubernetes", service: &names::peers(target.name()) },
        gateway: Gateway {
            cluster_domain: target.cluster_domain,
            default_store: spec.default_store.as_ref().map(|name| name.as_str()),
            domains: &spec.gateway.domains,
        },
        limits: Limits {
            event_bytes_max: spec.settings.event_bytes_max,
            batch_bytes_max: spec.settings.batch_bytes_max,
        },
        shutdown: Shutdown {
            drain_delay_ms: i64::from(spec.settings.drain_delay_seconds) * 1000,
            grace_ms: spec.pod_template.termination_grace_period_seconds * 1000 - MARGIN_MS,
        },
    })
}

/// Builds the ConfigMap of the nodes: `text` as `node.toml`, and the default image of the time when the
/// Cluster was created.
pub fn config_map(target: RenderTarget<'_>, text: String, default_image: &str) -> ConfigMap {
    let mut metadata = target.meta(names::config(target.name()));
    metadata.annotations = Some([(labels::DEFAULT_IMAGE.to_owned(), default_image.to_owned())].into());
    ConfigMap { metadata, data: Some([(KEY.to_owned(), text)].into()), ..ConfigMap::default() }
}
