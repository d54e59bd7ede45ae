//! A real Kubernetes on one machine, without a container engine: kube-apiserver, etcd, controller-manager, scheduler,
//! kube-proxy, CoreDNS, and for each node a kubelet with a containerd of its own.
//!
//! Everything runs inside one PID, mount and network namespace, so that ending its first process ends all of it and nothing
//! of it touches the host but one interface with two routes, one directory and one cgroup subtree.
//!
//! [`kubectl`] and [`command`] run programs against a cluster, and [`wait`] waits for a condition with a deadline.
//!
//! Two sides:
//! - on the host, [`LocalKube`] and the `localkube` command: check, write files, start, ask, clean up;
//! - inside, the `supervisor`: starts the components, restarts them when they fail, and carries out faults. The two speak
//!   over a socket in the state directory (`protocol`).
//!
//! The cluster's DNS runs beside the API server and not as a pod: stopping, draining or cutting off a node must break what a
//! test means to break, and not the name service of the other nodes.

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
