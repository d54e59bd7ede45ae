//! StatefulSet of a Cluster's nodes:
//!
//! - `Parallel`, because a restart of the whole Cluster must start all members together;
//! - `OnDelete`, because the operator alone decides when a pod is deleted;
//! - volumes always retained by Kubernetes.

use super::{
    config, labels, names,
    render_target::RenderTarget,
    services::{ADMIN_PORT, CLIENT_PORT, HTTP_PORT, PEER_PORT},
};
use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
        },
        core::v1::{
            Affinity, Capabilities, ConfigMapProjection, ConfigMapVolumeSource, Container, ContainerPort,
            DownwardAPIProjection, DownwardAPIVolumeFile, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
            LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec,
            PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ProjectedVolumeSource, ResourceFieldSelector, ResourceRequirements, SeccompProfile, SecurityContext,
            ServiceAccountTokenProjection, Toleration, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
            VolumeResourceRequirements, WeightedPodAffinityTerm,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use std::collections::BTreeMap;
use taffrail_crds::cluster::{AntiAffinity, ComputeAmounts, TaintEffect, TolerationOperator};

/// Version of the template. A change that would restart pods raises the version, and the old form stays renderable, so
/// that an upgrade of the operator leaves running pods alone.
pub(crate) const TEMPLATE_VERSION: i32 = 1;
/// Name of the node container.
pub(crate) const CONTAINER: &str = "node";
/// User and group of the image.
const USER: i64 = 65_532;
/// Environment variable for the node's setting `limits.memory_mib`.
const MEMORY_VARIABLE: &str = "TAFFRAIL_LIMITS_MEMORY_MIB";
const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Startup limit of ten minutes: a node may have to replay a log of any length before the first answer.
const START_SECONDS_MAX: i32 = 600;

/// Inputs of the template besides the spec.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Number of pods.
    pub replicas: i32,
    /// Image of the nodes.
    pub image: &'a str,
    /// Hash of the configuration.
    pub config_hash: &'a str,
    /// Cluster id of the data, once recorded.
    pub cluster_id: Option<&'a str>,
    /// Storage size in the claim template of the existing StatefulSet: a claim template is immutable.
    pub claim_size: Option<&'a str>,
}

/// Builds the StatefulSet of the nodes.
pub fn render(target: RenderTarget<'_>, inputs: &Inputs<'_>) -> StatefulSet {
    let name = target.name();
    let mut metadata = target.meta(names::set(name));
    let mut annotations = BTreeMap::from([(labels::TEMPLATE_VERSION.to_owned(), TEMPLATE_VERSION.to_string())]);
    if let Some(id) = inputs.cluster_id {
        annotations.insert(labels::CLUSTER_ID.to_owned(), id.to_owned());
    }
    metadata.annotations = Some(annotations);
    metadata.labels.get_or_insert_default().extend(labels::version(inputs.image));
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(inputs.replicas),
            service_name: Some(names::peers(name)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            selector: labels::selector(name),
            template: template(target, inputs),
            volume_claim_templates: Some(vec![claim(target, inputs)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim(target: RenderTarget<'_>, inputs: &Inputs<'_>) -> PersistentVolumeClaim {
    let storage = &target.cluster.spec.storage;
    let size = inputs.claim_size.map_or_else(|| storage.size.canonical(), str::to_owned);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(labels::of_cluster(target.name())),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn template(target: RenderTarget<'_>, inputs: &Inputs<'_>) -> PodTemplateSpec {
    let wanted = &target.cluster.spec.pod_template;
    let mut pod_labels = wanted.labels.clone();
    pod_labels.extend(labels::of_cluster(target.name()));
    pod_labels.extend(labels::version(inputs.image));
    let mut annotations = wanted.annotations.clone();
    annotations.insert(labels::CONFIG_HASH.to_owned(), inputs.config_hash.to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::config(target.name())),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(wanted.termination_grace_period_seconds),
            security_context: Some(pod_security(target)),
            affinity: Some(affinity(target)),
            topology_spread_constraints: Some(vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: "topology.kubernetes.io/zone".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                label_selector: Some(labels::selector(target.name())),
                ..TopologySpreadConstraint::default()
            }]),
            node_selector: non_empty(&wanted.node_selector),
            tolerations: tolerations(target),
            priority_class_name: wanted.priority_class_name.clone(),
            image_pull_secrets: (!wanted.image_pull_secrets.is_empty()).then(|| {
                let reference = |name: &String| LocalObjectReference { name: name.clone() };
                wanted.image_pull_secrets.iter().map(|secret| reference(&secret.name)).collect()
            }),
            containers: vec![container(target, inputs)],
            volumes: Some(volumes(target)),
            ..PodSpec::default()
        }),
    }
}

fn container(target: RenderTarget<'_>, inputs: &Inputs<'_>) -> Container {
    let port = |name: &str, number: i32| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(inputs.image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["/usr/local/bin/taffrail".to_owned()]),
        args: Some(vec!["serve".to_owned(), "--config".to_owned(), format!("{}/{}", config::MOUNT, config::KEY)]),
        ports: Some(vec![
            port("grpc", CLIENT_PORT),
            port("grpc-peer", PEER_PORT),
            port("grpc-admin", ADMIN_PORT),
            port("http-metrics", HTTP_PORT),
        ]),
        env: Some(environment(target)),
        resources: Some(resources(target)),
        // Liveness covers the process only, never leader, quorum or peers: otherwise a single outage would
        // restart every pod.
        startup_probe: Some(probe("/livez", 1, 5, START_SECONDS_MAX)),
        liveness_probe: Some(probe("/livez", 10, 5, 6)),
        readiness_probe: Some(probe("/readyz", 1, 2, 2)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(vec![
            mount("data", config::VOLUME_MOUNT, false),
            mount("config", config::MOUNT, true),
            mount("api-access", TOKEN_MOUNT, true),
        ]),
        ..Container::default()
    }
}

fn probe(path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http-metrics".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn environment(target: RenderTarget<'_>) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
    };
    let mut all = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_IP", "status.podIP"),
        field("POD_UID", "metadata.uid"),
    ];
    // Without a limit of the container, the field would contain the memory of the machine.
    if target.cluster.spec.resources.limits.as_ref().is_some_and(|limits| limits.memory.is_some()) {
        all.push(memory_limit());
    }
    let ours: Vec<String> = all.iter().map(|variable| variable.name.clone()).collect();
    let wanted = target.cluster.spec.pod_template.env.iter();
    all.extend(wanted.filter(|variable| !ours.contains(&variable.name)).map(|variable| EnvVar {
        name: variable.name.clone(),
        value: (!variable.value.is_empty()).then(|| variable.value.clone()),
        value_from: None,
    }));
    all
}

/// Passes the container's memory limit in MiB to the node, the basis of the node's memory budgets.
fn memory_limit() -> EnvVar {
    let limit = ResourceFieldSelector {
        container_name: Some(CONTAINER.to_owned()),
        resource: "limits.memory".to_owned(),
        divisor: Some(Quantity("1Mi".to_owned())),
    };
    EnvVar {
        name: MEMORY_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { resource_field_ref: Some(limit), ..EnvVarSource::default() }),
    }
}

fn resources(target: RenderTarget<'_>) -> ResourceRequirements {
    let wanted = &target.cluster.spec.resources;
    let amounts = |given: &ComputeAmounts| {
        let pairs = [("cpu", &given.cpu), ("memory", &given.memory)];
        let set = pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), Quantity(v.as_ref()?.canonical()))));
        set.collect::<BTreeMap<_, _>>()
    };
    let limits = wanted.limits.as_ref().map(amounts).unwrap_or_default();
    let mut requests = wanted.requests.as_ref().map(amounts).unwrap_or_default();
    // Requests are always set, so that the scheduler accounts for the node. As in Kubernetes, a limit is the default
    // of its request.
    for (key, default) in [("cpu", "100m"), ("memory", "256Mi")] {
        if !requests.contains_key(key) {
            let value = limits.get(key).cloned().unwrap_or_else(|| Quantity(default.to_owned()));
            requests.insert(key.to_owned(), value);
        }
    }
    ResourceRequirements { limits: non_empty(&limits), requests: Some(requests), claims: None }
}

fn pod_security(target: RenderTarget<'_>) -> PodSecurityContext {
    let wanted = target.cluster.spec.pod_template.security_context.clone().unwrap_or_default();
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(wanted.run_as_user.unwrap_or(USER)),
        fs_group: Some(wanted.fs_group.unwrap_or(USER)),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn affinity(target: RenderTarget<'_>) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: "kubernetes.io/hostname".to_owned(),
        label_selector: Some(labels::selector(target.name())),
        ..PodAffinityTerm::default()
    };
    let apart = match target.cluster.spec.placement.anti_affinity {
        AntiAffinity::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
        AntiAffinity::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
    };
    Affinity { pod_anti_affinity: Some(apart), ..Affinity::default() }
}

fn tolerations(target: RenderTarget<'_>) -> Option<Vec<Toleration>> {
    let wanted = &target.cluster.spec.pod_template.tolerations;
    let convert = |given: &taffrail_crds::cluster::Toleration| Toleration {
        key: given.key.clone(),
        operator: Some(match given.operator {
            TolerationOperator::Equal => "Equal".to_owned(),
            TolerationOperator::Exists => "Exists".to_owned(),
        }),
        value: given.value.clone(),
        effect: given.effect.map(|effect| match effect {
            TaintEffect::NoSchedule => "NoSchedule".to_owned(),
            TaintEffect::PreferNoSchedule => "PreferNoSchedule".to_owned(),
            TaintEffect::NoExecute => "NoExecute".to_owned(),
        }),
        toleration_seconds: given.toleration_seconds,
    };
    (!wanted.is_empty()).then(|| wanted.iter().map(convert).collect())
}

/// Builds the volumes. No emptyDir, because an emptyDir makes `kubectl drain` ask for a flag and keeps autoscalers
/// away. The token is projected explicitly, since only peer discovery needs a token.
fn volumes(target: RenderTarget<'_>) -> Vec<Volume> {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(3607),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config(target.name()),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "api-access".to_owned(),
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![token, authority, namespace]),
                default_mode: None,
            }),
            ..Volume::default()
        },
    ]
}

fn non_empty<V: Clone>(map: &BTreeMap<String, V>) -> Option<BTreeMap<String, V>> {
    (!map.is_empty()).then(|| map.clone())
}
