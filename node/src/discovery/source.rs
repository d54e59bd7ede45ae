//! Starts the source of candidates for `discovery.kind`.

use super::{Candidates, fixed, kubernetes};
use crate::config::{Config, Discovery};
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Starts the configured source, until `stop`. Returns the candidates, and for a fixed list also the sender: the watch
/// ends when the caller drops the sender.
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
