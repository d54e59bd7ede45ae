//! What a caller may choose about a cluster.

use crate::{
    names::{InstanceName, NodeId},
    network::{Network, Slot},
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How the addresses are found.
#[derive(Clone, Copy, Debug)]
pub enum Addresses {
    /// The first slot that no route and no interface of this host overlaps.
    FirstFree,
    /// This slot, or an error when it is taken.
    Slot(Slot),
    /// These ranges, or an error when they are taken.
    Given(Network),
}

/// Where the programs are that a cluster consists of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    /// Directory with kube-apiserver, kubelet, etcd, coredns, pause and the others that `scripts/k8s-tools.sh` builds.
    pub kubernetes: PathBuf,
    /// Directory with the CNI plugins.
    pub cni: PathBuf,
    /// The `localkube` command, which is also the first process inside.
    pub localkube: PathBuf,
}

impl Programs {
    /// The Kubernetes version that the scripts build, and so the name of its cache directory.
    pub const KUBERNETES_VERSION: &'static str = "1.36.3";

    /// The usual places: the cache that `TAFFRAIL_CACHE` names (default `~/.cache/taffrail`) and the distribution's CNI
    /// plugins.
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

    /// One of the Kubernetes programs.
    #[must_use]
    pub fn kubernetes(&self, name: &str) -> PathBuf {
        self.kubernetes.join(name)
    }
}

/// Everything a caller may choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cluster on this machine.
    pub name: InstanceName,
    /// The directory below which each cluster has its state directory. On a disk: volumes and images live there.
    pub state_root: PathBuf,
    /// How many nodes.
    pub nodes: NodeId,
    /// How many volumes of unlimited size each node offers.
    pub volumes_per_node: u8,
    /// Which addresses.
    pub addresses: Addresses,
    /// Which programs.
    pub programs: Programs,
}

impl Config {
    /// The usual name.
    pub const DEFAULT_NAME: &'static str = "main";
    /// The usual parent of state directories.
    pub const DEFAULT_STATE_ROOT: &'static str = "/var/lib/taffrail";
    /// The usual number of nodes.
    pub const DEFAULT_NODES: NodeId = NodeId::of(3);
    /// The usual number of volumes on each node.
    pub const DEFAULT_VOLUMES: u8 = 12;

    /// Three nodes in the usual places, addresses from the first free slot.
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
