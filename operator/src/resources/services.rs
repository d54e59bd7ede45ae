//! Services of a Cluster (for clients, for peers, and for client-side load balancing) and of an EventStore (under the
//! name of the EventStore).

use super::{labels, names, render_target::RenderTarget};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use kube::Resource;
use taffrail_crds::{EventStore, event_store::ServiceType};

/// Port for clients of the gateway.
pub(crate) const CLIENT_PORT: i32 = 2113;
/// Port for calls between nodes.
pub(crate) const PEER_PORT: i32 = 2114;
/// Admin port, used by the operator.
pub(crate) const ADMIN_PORT: i32 = 2115;
/// Port of metrics and probes.
pub(crate) const HTTP_PORT: i32 = 9090;

const H2C: &str = "kubernetes.io/h2c";

/// Builds the three Services of a Cluster.
pub fn of_cluster(target: RenderTarget<'_>) -> [Service; 3] {
    let name = target.name();
    let spec = |ports| ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        selector: Some(labels::selecting(name)),
        ports: Some(ports),
        ..ServiceSpec::default()
    };
    let headless = |ports| ServiceSpec { cluster_ip: Some("None".to_owned()), ..spec(ports) };
    let service = |name: String, spec: ServiceSpec| Service {
        metadata: target.meta(name),
        spec: Some(spec),
        ..Service::default()
    };
    [
        service(names::clients(name), spec(vec![client_port()])),
        service(
            names::peers(name),
            ServiceSpec {
                // Peers must find each other before the nodes are ready.
                publish_not_ready_addresses: Some(true),
                ..headless(vec![
                    port("grpc-peer", PEER_PORT, Some(H2C)),
                    port("grpc-admin", ADMIN_PORT, Some(H2C)),
                    port("http-metrics", HTTP_PORT, Some("http")),
                ])
            },
        ),
        service(names::ready(name), headless(vec![client_port()])),
    ]
}

/// Builds the Service of an EventStore; `None` if the spec wants no Service.
pub fn of_store(store: &EventStore, cluster_domain: &str) -> Option<Service> {
    let cluster = store.spec.cluster_ref.name.as_str();
    let name = store.metadata.name.clone().unwrap_or_default();
    let namespace = store.metadata.namespace.clone().unwrap_or_default();
    let spec = match store.spec.service.type_ {
        ServiceType::None => return None,
        ServiceType::ExternalName => ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(format!("{}.{namespace}.svc.{cluster_domain}", names::clients(cluster))),
            // Informational only: an ExternalName forwards nothing.
            ports: Some(vec![client_port()]),
            ..ServiceSpec::default()
        },
        ServiceType::ClusterIP => ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            selector: Some(labels::selecting(cluster)),
            ports: Some(vec![client_port()]),
            ..ServiceSpec::default()
        },
    };
    Some(Service {
        metadata: ObjectMeta {
            labels: Some(labels::of_store(cluster, &name)),
            name: Some(name),
            namespace: Some(namespace),
            owner_references: store.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        ..Service::default()
    })
}

fn client_port() -> ServicePort {
    port("grpc", CLIENT_PORT, Some(H2C))
}

fn port(name: &str, number: i32, protocol: Option<&str>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        app_protocol: protocol.map(str::to_owned),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
