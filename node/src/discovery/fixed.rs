//! A fixed list of candidates: `discovery.peers`, or an empty list for a single node.

use super::Candidates;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// Returns candidates without changes. The watch ends when the sender is dropped.
#[must_use]
pub(crate) fn candidates(addresses: &[String]) -> (watch::Sender<BTreeSet<String>>, Candidates) {
    watch::channel(addresses.iter().cloned().collect())
}
