//! The metrics of one node, in the Prometheus text format.
//!
//! [`Metrics`] is a value, not a global: a process may hold many nodes. Counters and histograms are updated where the event
//! happens; gauges about replicas and the state database are set from samples when a page is rendered.
//!
//! - `metrics`: [`Metrics`], which the other crates of the node update.
//! - `samples`: gauges that are set from a [`StoreSample`] or a [`StateSample`].
//! - `store_labels`: bounds the values of the label `store`.
//! - `runtime`: gauges of the tokio runtime.
//! - `registrar`: creates metrics and registers them.

mod metrics;
mod registrar;
mod runtime;
mod samples;
mod store_labels;

pub use metrics::Metrics;
pub use samples::{StateSample, StoreSample};
