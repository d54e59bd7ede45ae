//! A real Kubernetes on one machine, without a container engine: kube-apiserver, etcd, controller-manager, scheduler,
//! kube-proxy, CoreDNS, and for each node a kubelet with a containerd of its own.
//!
//! Everything runs inside one PID, mount and network namespace, so that ending its first process ends all of it and nothing
//! of it touches the host but one interface with two routes, one directory and one cgroup subtree.
//!
//! Two sides:
//! - on the host, [`LocalKube`] and the `localkube` command: check, write files, start, ask, clean up;
//! - inside, the `supervisor`: starts the components, restarts them when they fail, and carries out faults. The two speak
//!   over a socket in the state directory ([`control`]).
//!
//! The cluster's DNS runs beside the API server and not as a pod: stopping, draining or cutting off a node must break what a
//! test means to break, and not the name service of the other nodes.

mod archive;
pub mod audit;
mod cgroups;
pub mod config;
pub mod control;
mod control_plane;
mod down;
mod error;
mod handle;
mod host;
mod images;
pub mod layout;
mod machine;
pub mod network;
mod node_files;
mod objects;
mod pki;
mod prerequisites;
mod process;
pub mod supervisor;
mod up;
mod volumes;

pub use config::{Config, InstanceName, NodeId};
pub use control::{Cut, Status};
pub use error::{Error, Io};
pub use handle::LocalKube;
pub use images::BUSYBOX;
pub use machine::Machine;
pub use objects::{LIMITED_STORAGE_CLASS, STORAGE_CLASS};
pub use prerequisites::Missing;
pub use up::{Outcome, Progress};
