//! A list that does not change: from configuration, or empty for a node that is alone.

use super::Candidates;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// Candidates that stay as they are. The sender is returned too: the watch ends with it.
#[must_use]
pub fn candidates(addresses: &[String]) -> (watch::Sender<BTreeSet<String>>, Candidates) {
    watch::channel(addresses.iter().cloned().collect())
}
