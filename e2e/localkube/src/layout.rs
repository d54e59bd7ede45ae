//! Paths of all files of a cluster. No other module joins path components of the state directory.

use crate::names::NodeId;
use std::path::{Path, PathBuf};

/// The state directory of a cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    state: PathBuf,
}

impl Layout {
    /// Length of the longest socket path, relative to the state directory. The limit for a whole Unix socket path
    /// is 107 bytes.
    const SOCKET_SUFFIX: usize = "/node9/containerd.sock.ttrpc".len();

    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// Returns whether the socket paths below this directory stay within the limit.
    pub(crate) fn sockets_fit(&self) -> bool {
        self.state.as_os_str().len() + Self::SOCKET_SUFFIX <= 107
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The saved [`Instance`](crate::Instance).
    #[must_use]
    pub fn instance(&self) -> PathBuf {
        self.state.join("machine.json")
    }

    /// The id of the first process of the namespaces, in the PID namespace of the host.
    #[must_use]
    pub fn init(&self) -> PathBuf {
        self.state.join("init.json")
    }

    /// Marker file, written as the last step of `up`.
    pub(crate) fn complete(&self) -> PathBuf {
        self.state.join("complete")
    }

    /// The socket of the supervisor.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.state.join("control.sock")
    }

    /// The kubeconfig with full access, usable from the host.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// The kubeconfig of a component.
    #[must_use]
    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.state.join(format!("{who}.kubeconfig"))
    }

    /// The directory of the log files.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The log file of a component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// The audit log of the API server, with a JSON object on each line.
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

    /// Image archives, imported on every node in the order of their names.
    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    pub(crate) fn node(&self, node: NodeId) -> NodeLayout {
        NodeLayout { directory: self.state.join(node.to_string()) }
    }
}

/// The directory of a node.
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

    /// Images and writable layers; kept when the node is powered off.
    pub(crate) fn containerd_root(&self) -> PathBuf {
        self.directory.join("containerd")
    }

    /// Running containers and network namespaces; removed when the node is powered off.
    pub(crate) fn containerd_state(&self) -> PathBuf {
        self.directory.join("state")
    }

    pub(crate) fn cni_config(&self) -> PathBuf {
        self.directory.join("cni")
    }

    /// Addresses assigned to pods; removed when the node is powered off.
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

    /// The file system image of a volume of limited size.
    pub(crate) fn volume_image(&self, name: &str) -> PathBuf {
        self.volumes().join(format!("{name}.ext4"))
    }
}
