//! Starts the source of candidates that `discovery.kind` names.

use super::{Candidates, fixed, kubernetes};
use crate::config::{Config, Discovery};
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Candidates from the configured source, until `stop`. A fixed list also needs its sender: the caller keeps it, since the
/// watch ends when it is dropped.
#[must_use]
pub(crate) fn start(
    config: &Config,
    stop: &CancellationToken,
) -> (Option<watch::Sender<BTreeSet<String>>>, Candidates) {
    let fixed = |addresses: &[String]| {
        let (keep, candidates) = fixed::candidates(addresses);
        (Some(keep), candidates)
    };
    match &config.discovery {
        Discovery::Kubernetes { service } => {
            let watched = kubernetes::Config {
                namespace: config.namespace.clone(),
                service: service.clone(),
                port: config.listen_peers.port(),
                data_dir: config.data_dir.clone(),
            };
            (None, kubernetes::candidates(watched, stop.clone()))
        }
        Discovery::Static { peers } => fixed(peers),
        Discovery::Single => fixed(&[]),
    }
}
