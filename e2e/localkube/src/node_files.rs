//! Command lines and configuration files of the containerd, CNI plugins and kubelet of a node.

use crate::{
    control_plane::Launch,
    error::{Error, Io},
    images,
    instance::Instance,
    names::NodeId,
    pki, volumes,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Creates the directories and files of a node.
pub(crate) fn write(instance: &Instance, node: NodeId) -> Result<(), Error> {
    let files = instance.layout().node(node);
    let make = |path: &Path| fs::create_dir_all(path).map_err(|source| Io::new("create", path, source));
    make(&files.cni_config())?;
    make(&files.pod_logs())?;
    for volume in volumes::initial_names(instance) {
        make(&files.volume(&volume))?;
    }
    let texts = [
        (files.containerd_config(), containerd_config(instance, node)),
        (files.cni_config().join("10-pods.conflist"), format!("{:#}\n", cni_config(instance, node))),
        (files.kubelet_config(), format!("{:#}\n", kubelet_config(instance, node))),
    ];
    for (path, text) in texts {
        fs::write(&path, text).map_err(|source| Io::new("write", &path, source))?;
    }
    Ok(())
}

/// The containerd of the node, started in `cgroup`.
pub(crate) fn containerd(instance: &Instance, node: NodeId, cgroup: PathBuf) -> Launch {
    let files = instance.layout().node(node);
    Launch {
        name: format!("{node}-containerd"),
        program: PathBuf::from("containerd"),
        args: vec!["--config".to_owned(), files.containerd_config().display().to_string()],
        cgroup: Some(cgroup),
    }
}

/// The kubelet of the node, started in `cgroup`.
pub(crate) fn kubelet(instance: &Instance, node: NodeId, cgroup: PathBuf) -> Launch {
    let layout = instance.layout();
    let files = layout.node(node);
    let path = |name: &str, path: &Path| format!("--{name}={}", path.display());
    Launch {
        name: format!("{node}-kubelet"),
        program: instance.programs.kubernetes("kubelet"),
        args: vec![
            path("config", &files.kubelet_config()),
            path("kubeconfig", &layout.kubeconfig(&node.to_string())),
            path("root-dir", &files.kubelet_root()),
            path("cert-dir", &files.kubelet_certificates()),
            format!("--hostname-override={node}"),
            format!("--node-ip={}", instance.network.node(node)),
            format!("--node-labels=topology.kubernetes.io/zone=zone{}", node.number()),
        ],
        cgroup: Some(cgroup),
    }
}

/// Renders the configuration of containerd 1.6, which reads TOML version 2. Paths are written as JSON strings, which
/// are valid TOML basic strings.
fn containerd_config(instance: &Instance, node: NodeId) -> String {
    let files = instance.layout().node(node);
    let quoted = |path: PathBuf| json!(path).to_string();
    format!(
        r#"version = 2
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = {socket}

[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE a score below the parent's ends runc with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  # Below `state`, so unmounting everything below `state` removes the network of exactly the pods of this node.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni_programs}
    conf_dir = {cni_config}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    discard_unpacked_layers = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
        root = quoted(files.containerd_root()),
        state = quoted(files.containerd_state()),
        socket = quoted(files.containerd_socket()),
        pause = images::PAUSE,
        cni_programs = quoted(instance.programs.cni.clone()),
        cni_config = quoted(files.cni_config()),
    )
}

/// Renders the CNI configuration: a veth pair for each pod and no bridge. All packets between pods are routed, even on
/// the same node, so Services and cuts apply to all packets without bridge filtering.
fn cni_config(instance: &Instance, node: NodeId) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": format!("{}-{node}", instance.name),
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": instance.layout().node(node).cni_leases(),
                    "ranges": [[{"subnet": instance.network.pods_of(node)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet_config(instance: &Instance, node: NodeId) -> Value {
    let layout = instance.layout();
    let files = layout.node(node);
    let who = node.to_string();
    let address = instance.network.node(node);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.certificate(pki::AUTHORITY)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.certificate(&who),
        "tlsPrivateKeyFile": layout.key(&who),
        "address": address,
        "healthzBindAddress": address,
        "clusterDNS": [instance.network.dns_service()],
        "clusterDomain": "cluster.local",
        "resolvConf": layout.resolv_conf(),
        "containerRuntimeEndpoint": format!("unix://{}", files.containerd_socket().display()),
        "podLogsDir": files.pod_logs(),
        "volumePluginDir": layout.plugins(),
        // All pods run below the cgroup of this cluster and node, so the cgroups of the machine stay untouched. Without
        // cgroups per QoS class, pods of all nodes would run in a single cgroup named by containerd.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}/{node}", instance.name.cgroup()),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        // A developer's disk may be nearly full. Images cannot be pulled again, so image garbage collection
        // must never run.
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::sample;

    fn node(number: u8) -> NodeId {
        NodeId::try_from(number).unwrap()
    }

    #[test]
    fn nodes_share_neither_address_nor_directory_nor_cgroup() {
        let instance = sample("one", 0);
        let (first, second) = (kubelet_config(&instance, node(1)), kubelet_config(&instance, node(2)));
        for key in ["address", "containerRuntimeEndpoint", "podLogsDir", "cgroupRoot", "tlsCertFile"] {
            assert_ne!(first[key], second[key], "{key}");
        }
        assert_eq!(second["cgroupRoot"], "/taffrail-one/node2");
        assert_eq!(cni_config(&instance, node(2))["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.208.2.0/24");
    }

    #[test]
    fn containerd_paths_are_quoted() {
        let mut instance = sample("one", 0);
        instance.state = PathBuf::from("/a \"b\"");
        let text = containerd_config(&instance, node(1));
        assert!(text.contains(r#"state = "/a \"b\"/node1/state""#), "{text}");
    }
}
