//! The environment and the tools of the end-to-end scenarios.
//!
//! - [`run`](run::run) prepares a Kubernetes with the operator and hands a [`Scenario`](scenario::Scenario) to the test.
//! - [`test_cluster`] decides which cluster that is: a local one from [`taffrail_localkube`], or the one of `KUBECONFIG`.
//! - [`manifests`], [`members`], [`pods`] and [`replicas`] apply, wait for and compare what a scenario is about.
//! - [`workload`] appends and subscribes and checks every answer; [`minority_probe`] checks a node without a majority.
//! - [`disk_faults`] breaks disks; the other faults are methods of [`LocalKube`](taffrail_localkube::LocalKube).
//! - [`prometheus`] scrapes the pods as a platform team would.
//!
//! The scenarios need root, `scripts/deps.sh`, `scripts/k8s-tools.sh`, and the image that `TAFFRAIL_IMAGE_ARCHIVE` names.

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
pub mod test_cluster;
pub mod workload;
