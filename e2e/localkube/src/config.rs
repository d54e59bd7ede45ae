//! Configuration of a cluster.

use crate::{
    names::{InstanceName, NodeId},
    network::{Network, Slot},
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The source of the cluster's address ranges.
#[derive(Clone, Copy, Debug)]
pub enum Addresses {
    /// The first slot without overlap with a route or interface of this host.
    FirstFree,
    /// This slot; starting fails if one of its ranges is in use.
    Slot(Slot),
    /// These ranges; starting fails if a range is in use.
    Given(Network),
}

/// Locations of the programs of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    /// Directory of the programs built by `scripts/k8s-tools.sh`: kube-apiserver, kubelet, etcd, coredns,
    /// pause and others.
    pub kubernetes: PathBuf,
    /// Directory of the CNI plugins.
    pub cni: PathBuf,
    /// The `localkube` program, which also runs as the first process inside the namespaces.
    pub localkube: PathBuf,
}

impl Programs {
    /// The Kubernetes version built by the scripts; part of the name of the cache directory.
    pub const KUBERNETES_VERSION: &'static str = "1.36.3";

    /// Returns the default locations: the cache named by `TAFFRAIL_CACHE` (default `~/.cache/taffrail`) and the CNI
    /// plugins of the distribution.
    #[must_use]
    pub fn in_usual_places(localkube: PathBuf) -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = variable("TAFFRAIL_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("taffrail")))
            .or_else(|| variable("HOME").map(|path| path.join(".cache/taffrail")))
            .unwrap_or_else(|| PathBuf::from("/var/cache/taffrail"));
        let cni = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"].map(Path::new);
        Self {
            kubernetes: cache.join(format!("k8s-{}/bin", Self::KUBERNETES_VERSION)),
            cni: cni.iter().find(|path| path.join("ptp").exists()).unwrap_or(&cni[0]).to_path_buf(),
            localkube,
        }
    }

    /// Returns the path of a Kubernetes program.
    #[must_use]
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }
}

/// The settings of a cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the cluster on this machine.
    pub name: InstanceName,
    /// Parent of the state directories of all clusters. Must be on a disk, because the state directories contain
    /// volumes and images.
    pub state_root: PathBuf,
    /// The last node: nodes are numbered from `node1`.
    pub nodes: NodeId,
    /// Volumes of unlimited size on each node.
    pub volumes_per_node: u8,
    pub addresses: Addresses,
    pub programs: Programs,
}

impl Config {
    /// Default of [`Config::name`].
    pub const DEFAULT_NAME: &'static str = "main";
    /// Default of [`Config::state_root`].
    pub const DEFAULT_STATE_ROOT: &'static str = "/var/lib/taffrail";
    /// Default of [`Config::nodes`].
    pub const DEFAULT_NODES: NodeId = NodeId::of(3);
    /// Default of [`Config::volumes_per_node`].
    pub const DEFAULT_VOLUMES: u8 = 12;

    /// Creates a configuration with the default values and the addresses of the first free slot.
    #[must_use]
    pub fn new(name: InstanceName, localkube: PathBuf) -> Self {
        Self {
            name,
            state_root: PathBuf::from(Self::DEFAULT_STATE_ROOT),
            nodes: Self::DEFAULT_NODES,
            volumes_per_node: Self::DEFAULT_VOLUMES,
            addresses: Addresses::FirstFree,
            programs: Programs::in_usual_places(localkube),
        }
    }
}
