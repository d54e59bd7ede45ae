//! What the end-to-end scenarios stand on: a real Kubernetes on one machine, the means to break it, and the commands to look
//! into it.
//!
//! [`localkube`] owns the cluster itself; [`cluster`] lets a scenario run on it or on any cluster that `KUBECONFIG` names;
//! [`kubectl`] and [`wait`] are how scenarios act and how they wait; [`scene`] is the stage that most of them share.

pub mod cluster;
pub mod command;
pub mod disks;
pub mod kubectl;
pub mod localkube;
pub mod members;
pub mod probes;
pub mod prometheus;
pub mod scene;
pub mod wait;
pub mod workload;
