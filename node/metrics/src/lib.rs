//! The metrics of a node, in the Prometheus text format.
//!
//! [`Metrics`] is a value, not a global: a process may hold many nodes. Counters and histograms are updated where the
//! event happens; gauges about replicas and the state database are set from samples when a page is rendered.
//!
//! - `metrics`: [`Metrics`], updated by the other crates of the node.
//! - `samples`: gauges set from a [`StoreSample`] or a [`StateSample`].
//! - `store_labels`: bounds the values of the label `store`.
//! - `runtime`: gauges of the tokio runtime.
//! - `registrar`: creation and registration of metrics.

mod metrics;
mod registrar;
mod runtime;
mod samples;
mod store_labels;

pub use metrics::Metrics;
pub use samples::{DiskSample, StateSample, StoreSample};
