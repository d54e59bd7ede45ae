//! Where each file of a cluster is. Nobody else joins paths.

use crate::names::NodeId;
use std::path::{Path, PathBuf};

/// The state directory of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    state: PathBuf,
}

impl Layout {
    /// A Unix socket path has room for 107 bytes; the longest one below the state directory takes this many.
    const SOCKET_SUFFIX: usize = "/node9/containerd.sock.ttrpc".len();

    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// Whether the sockets fit below this directory.
    pub(crate) fn sockets_fit(&self) -> bool {
        self.state.as_os_str().len() + Self::SOCKET_SUFFIX <= 107
    }

    /// The directory itself.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// What `up` decided.
    #[must_use]
    pub fn instance(&self) -> PathBuf {
        self.state.join("machine.json")
    }

    /// The first process of the namespace, as the host sees it.
    #[must_use]
    pub fn init(&self) -> PathBuf {
        self.state.join("init.json")
    }

    /// Is there once `up` has come to its end.
    pub(crate) fn complete(&self) -> PathBuf {
        self.state.join("complete")
    }

    /// Where the supervisor listens.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.state.join("control.sock")
    }

    /// Full access from the host.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// The access of one component.
    #[must_use]
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.state.join(format!("{who}.kubeconfig"))
    }

    /// One log file for each component.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The log of one component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// Who wrote what to the API server, one JSON object a line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }

    pub(crate) fn certificate(&self, who: &str) -> PathBuf {
        self.pki().join(format!("{who}.crt"))
    }

    pub(crate) fn key(&self, who: &str) -> PathBuf {
        self.pki().join(format!("{who}.key"))
    }

    pub(crate) fn service_account_public_key(&self) -> PathBuf {
        self.pki().join("service-account.pub")
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.state.join("etcd")
    }

    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.state.join("audit-policy.yaml")
    }

    pub(crate) fn corefile(&self) -> PathBuf {
        self.state.join("Corefile")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.state.join("resolv.conf")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.state.join("objects.json")
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.state.join("volume-plugins")
    }

    pub(crate) fn sysctl_covers(&self) -> PathBuf {
        self.state.join("sysctl")
    }

    /// Archives to import on a node, in the order of their names.
    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    pub(crate) fn node(&self, node: NodeId) -> NodeLayout {
        NodeLayout { directory: self.state.join(node.to_string()) }
    }
}

/// The directory of one node.
#[derive(Clone, Debug)]
pub(crate) struct NodeLayout {
    directory: PathBuf,
}

impl NodeLayout {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn containerd_config(&self) -> PathBuf {
        self.directory.join("containerd.toml")
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// Images and writable layers: survives a power loss.
    pub(crate) fn containerd_root(&self) -> PathBuf {
        self.directory.join("containerd")
    }

    /// Running containers and network namespaces: gone after a power loss.
    pub(crate) fn containerd_state(&self) -> PathBuf {
        self.directory.join("state")
    }

    pub(crate) fn cni_config(&self) -> PathBuf {
        self.directory.join("cni")
    }

    /// Which pod has which address: gone after a power loss.
    pub(crate) fn cni_leases(&self) -> PathBuf {
        self.directory.join("leases")
    }

    pub(crate) fn kubelet_config(&self) -> PathBuf {
        self.directory.join("kubelet.yaml")
    }

    pub(crate) fn kubelet_root(&self) -> PathBuf {
        self.directory.join("kubelet")
    }

    pub(crate) fn kubelet_certificates(&self) -> PathBuf {
        self.directory.join("kubelet-pki")
    }

    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.directory.join("pods")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.directory.join("volumes")
    }

    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// The file behind a volume of limited size.
    pub(crate) fn volume_image(&self, name: &str) -> PathBuf {
        self.volumes().join(format!("{name}.ext4"))
    }
}
