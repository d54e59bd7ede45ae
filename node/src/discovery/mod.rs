//! Where peers may be found. A candidate is a hint; the handshake is the proof.

pub mod fixed;
pub mod kubernetes;
pub mod remembered;

use std::collections::BTreeSet;
use tokio::sync::watch;

/// Addresses (`host:port`) at which peers may be; changes as they come and go.
pub type Candidates = watch::Receiver<BTreeSet<String>>;
