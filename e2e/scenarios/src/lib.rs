//! The environment and the tools of the end-to-end scenarios.
//!
//! - [`run`](run::run) prepares a Kubernetes with the operator and passes a [`Scenario`](scenario::Scenario)
//!   to the test.
//! - [`test_cluster`] chooses the cluster: a local cluster of [`taffrail_localkube`], or the cluster of `KUBECONFIG`.
//! - [`manifests`], [`members`], [`pods`] and [`replicas`] apply, await and compare the objects of a scenario.
//! - [`workload`] appends and subscribes and checks every response; [`minority_probe`] checks a node
//!   without a majority.
//! - [`disk_faults`] damages disks, and [`stopped_process`] stops the process of a pod; the other faults are methods of
//!   [`LocalKube`](taffrail_localkube::LocalKube).
//! - [`prometheus`] discovers and scrapes the pods with a real Prometheus.
//!
//! The scenarios need root, `scripts/deps.sh`, `scripts/k8s-tools.sh`, and the image archive
//! named by `TAFFRAIL_IMAGE_ARCHIVE`.

pub mod disk_faults;
pub mod http;
pub mod manifests;
pub mod members;
pub mod minority_probe;
pub mod pods;
pub mod prometheus;
pub mod replicas;
pub mod run;
pub mod scenario;
pub mod stopped_process;
pub mod test_cluster;
pub mod workload;
