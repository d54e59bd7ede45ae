//! Metrics of the operator; the chart documents the names. Every metric of an alert rule or dashboard panel is
//! registered in this module.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::time::Duration;
use taffrail_crds::{Condition, conditions::ConditionStatus};

/// All metrics of the operator, in a separate registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    reconcile_errors: IntCounterVec,
    queue_errors: IntCounterVec,
    watch_errors: IntCounterVec,
    status_writes: IntCounterVec,
    object_writes: IntCounterVec,
    node_calls: IntCounterVec,
    condition: IntGaugeVec,
    crds_ready: IntGauge,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// Two metrics have the same name, a case excluded by the tests of this crate.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("taffrail_operator".to_owned()), None)?;
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let reconcile_seconds = HistogramVec::new(
            HistogramOpts::new("reconcile_seconds", "Duration of a reconcile.")
                .buckets(vec![0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0]),
            &["kind"],
        )?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        let condition = IntGaugeVec::new(
            Opts::new("condition", "Condition of an object: 1 true, 0 false, -1 unknown."),
            // Not "namespace": service discovery attaches the namespace of the operator's own pod under this name.
            &["kind", "resource_namespace", "name", "type"],
        )?;
        registry.register(Box::new(condition.clone()))?;
        let crds_ready = IntGauge::new("crds_ready", "1 once the API server serves both kinds.")?;
        registry.register(Box::new(crds_ready.clone()))?;
        let build = IntGaugeVec::new(Opts::new("build_info", "Version of the operator."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            reconciles: counters("reconciles_total", "Finished reconciles.", &["kind", "result"])?,
            reconcile_errors: counters("reconcile_errors_total", "Failed reconciles by class.", &["kind", "class"])?,
            queue_errors: counters("queue_errors_total", "Errors of the work queue.", &["kind"])?,
            watch_errors: counters("watch_errors_total", "Watches that failed and were restarted.", &["watch"])?,
            status_writes: counters("status_writes_total", "Writes of a status.", &["kind"])?,
            object_writes: counters("object_writes_total", "Writes of other objects.", &["kind"])?,
            node_calls: counters("node_calls_total", "Calls to the admin port of nodes.", &["method", "result"])?,
            reconcile_seconds,
            condition,
            crds_ready,
            registry,
        })
    }

    /// Counts a finished reconcile.
    pub fn reconciled(&self, kind: &str, took: Duration, error_class: Option<&str>) {
        let result = if error_class.is_some() { "error" } else { "ok" };
        self.reconciles.with_label_values(&[kind, result]).inc();
        self.reconcile_seconds.with_label_values(&[kind]).observe(took.as_secs_f64());
        if let Some(class) = error_class {
            self.reconcile_errors.with_label_values(&[kind, class]).inc();
        }
    }

    /// Counts an error of the work queue.
    pub fn queue_error(&self, kind: &str) {
        self.queue_errors.with_label_values(&[kind]).inc();
    }

    /// Counts a failed watch.
    pub fn watch_error(&self, watch: &str) {
        self.watch_errors.with_label_values(&[watch]).inc();
    }

    /// Counts a status write.
    pub fn status_written(&self, kind: &str) {
        self.status_writes.with_label_values(&[kind]).inc();
    }

    /// Counts a write of an owned object or of metadata.
    pub fn object_written(&self, kind: &str) {
        self.object_writes.with_label_values(&[kind]).inc();
    }

    /// Counts a call to a node.
    pub fn node_called(&self, method: &str, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.node_calls.with_label_values(&[method, result]).inc();
    }

    /// Notes both kinds as served by the API server.
    pub fn crds_found(&self) {
        self.crds_ready.set(1);
    }

    /// Sets the condition gauges of an object.
    pub fn conditions(&self, kind: &str, namespace: &str, name: &str, conditions: &[Condition]) {
        for condition in conditions {
            let value = match condition.status {
                ConditionStatus::True => 1,
                ConditionStatus::False => 0,
                ConditionStatus::Unknown => -1,
            };
            self.condition.with_label_values(&[kind, namespace, name, &condition.type_]).set(value);
        }
    }

    /// Removes the condition gauges of a deleted object.
    pub fn forget(&self, kind: &str, namespace: &str, name: &str, types: impl IntoIterator<Item = &'static str>) {
        for type_ in types {
            // The gauge may never have been set.
            let _gone = self.condition.remove_label_values(&[kind, namespace, name, type_]);
        }
    }

    /// Encodes all metrics in the Prometheus text format.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_and_objects_can_be_forgotten() {
        let metrics = Metrics::new().expect("unique names");
        metrics.reconciled("Cluster", Duration::from_millis(3), Some("transient"));
        let condition = taffrail_crds::conditions::settle(
            taffrail_crds::conditions::Subject::Cluster,
            Vec::new(),
            &[],
            Some(1),
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        );
        metrics.conditions("Cluster", "ns", "main", &condition);
        let text = String::from_utf8(metrics.text().expect("text")).expect("UTF-8");
        assert!(
            text.contains("taffrail_operator_reconcile_errors_total{class=\"transient\",kind=\"Cluster\"} 1"),
            "{text}"
        );
        assert!(text.contains("name=\"main\",resource_namespace=\"ns\",type=\"Stable\"} 0"), "{text}");
        metrics.forget(
            "Cluster",
            "ns",
            "main",
            taffrail_crds::conditions::Subject::Cluster.types().iter().map(|t| t.as_str()),
        );
        let text = String::from_utf8(metrics.text().expect("text")).expect("UTF-8");
        assert!(!text.contains("name=\"main\""), "{text}");
    }
}
