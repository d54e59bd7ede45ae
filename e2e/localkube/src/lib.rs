//! A real Kubernetes on one machine, without a container engine: kube-apiserver, etcd, controller-manager, scheduler,
//! kube-proxy, CoreDNS, and for each node a kubelet and a containerd.
//!
//! All processes run inside one PID, mount and network namespace. Killing the first process of the namespace therefore
//! ends the cluster. The only traces on the host are an interface with two routes, a directory and a cgroup subtree.
//!
//! [`kubectl`] and [`command`] run programs against a cluster, and [`wait`] waits for a condition with a deadline.
//!
//! The code has two sides, connected by a socket in the state directory (`protocol`):
//! - on the host, [`LocalKube`] and the `localkube` command check prerequisites, write files, start the cluster, send
//!   requests and clean up;
//! - inside the namespaces, the [`supervisor`] starts the components, restarts failed components and injects faults.
//!
//! The cluster DNS runs beside the API server and not as a pod. Otherwise, stopping, draining or isolating a node could
//! break name resolution on all nodes, beyond the intended fault.

mod archive;
pub mod audit;
mod cgroups;
pub mod command;
pub mod config;
mod control_plane;
mod down;
mod error;
mod host_link;
mod images;
mod instance;
pub mod kubectl;
pub mod layout;
mod local_kube;
mod lock;
mod missing;
mod names;
pub mod network;
mod node_files;
mod objects;
mod pki;
mod prerequisites;
mod process_id;
mod protocol;
pub mod supervisor;
mod up;
mod volumes;
pub mod wait;

pub use config::Config;
pub use error::{Error, Io};
pub use images::BUSYBOX;
pub use instance::Instance;
pub use local_kube::LocalKube;
pub use missing::Missing;
pub use names::{InstanceName, NodeId};
pub use protocol::{Cut, Status};
pub use up::{Outcome, Progress};
pub use volumes::{LIMITED_STORAGE_CLASS, STORAGE_CLASS};
