//! A Prometheus of a scenario's own, which finds Taffrail's pods by Kubernetes discovery, scrapes them and answers what it
//! saw. And `promtool`, which knows how metrics and configurations should look.
//!
//! It runs beside the cluster, not in it, with what a pod would have: the token of a ServiceAccount that may look at pods
//! and do nothing else, and the certificate authority of the API server. Which pods are scraped, and under which labels, is
//! decided by relabel rules as a platform team would write them.
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
