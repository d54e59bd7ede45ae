//! Possible addresses of peers. A candidate is a hint; the handshake of a connection proves who the peer is.
//!
//! - `source`: starts the configured source: `kubernetes` (EndpointSlices of a Service) or `fixed` (a list).
//! - `remembered`: keeps the last table of `kubernetes` for a start without the API server.

pub(crate) mod fixed;
pub(crate) mod kubernetes;
pub(crate) mod remembered;
pub(crate) mod source;

use std::collections::BTreeSet;
use tokio::sync::watch;

/// Possible addresses (`host:port`) of peers, updated as pods come and go.
pub(crate) type Candidates = watch::Receiver<BTreeSet<String>>;
