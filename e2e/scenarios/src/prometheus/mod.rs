//! A Prometheus for scenarios: finds the Taffrail pods by Kubernetes discovery, scrapes the pods and answers queries. And
//! `promtool`, a checker of metrics and configurations.
//!
//! Prometheus runs outside the cluster with the credentials of a pod: the token of a ServiceAccount with permission to
//! list and watch pods, and the certificate authority of the API server. Relabel rules, as a platform team would write
//! them, select the pods and their labels.
//!
//! Debian builds Prometheus without `kubernetes_sd_configs`, so `scripts/prometheus.sh` builds it from source;
//! `TAFFRAIL_PROMETHEUS` names the directory. Metrics are checked by Debian's `promtool`.

mod access;
mod api;
mod config;
mod error;
mod process;
mod promtool;

pub use access::Access;
pub use api::{Sample, Target};
pub use error::Error;
pub use process::Prometheus;
pub use promtool::lint;
