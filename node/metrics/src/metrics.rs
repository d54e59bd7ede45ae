//! [`Metrics`], the registry and all metrics of a node.

use crate::{
    registrar::Registrar,
    runtime::Runtime,
    samples::{DiskGauges, DiskSample, StateGauges, StateSample, StoreGauges, StoreSample},
    store_labels::StoreLabels,
};
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
    core::Collector,
};
use std::collections::BTreeSet;

/// All metrics of a node, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    labels: StoreLabels,
    /// Seconds of each append, from arrival at the gateway to the answer.
    pub append_seconds: Histogram,
    /// Seconds of each batch written and synced to the log.
    pub log_sync_seconds: Histogram,
    /// Seconds of each read, from arrival to the first page.
    pub read_first_page_seconds: Histogram,
    /// Seconds from recording an event to delivery of the event to a caught-up subscriber.
    pub subscription_lag_seconds: Histogram,
    /// Seconds of each batch of entries applied to the state of a group.
    pub apply_seconds: Histogram,
    /// Calls by method and gRPC code.
    pub calls: IntCounterVec,
    rejected: IntCounterVec,
    /// Events accepted by this node as leader, by store.
    pub appended_events: IntCounterVec,
    /// Payload bytes accepted by this node as leader, by store.
    pub appended_bytes: IntCounterVec,
    /// Open subscriptions, by store.
    pub subscribers: IntGaugeVec,
    /// Seconds of each call until the answer began, by method.
    pub call_seconds: HistogramVec,
    /// Connections to peers with proven identity.
    pub peer_connections: IntGauge,
    /// Tasks that ended unexpectedly, by task.
    pub tasks_failed: IntCounterVec,
    /// 1 while the node is ready.
    pub ready: IntGauge,
    /// Coordinator: largest reported difference of a node's clock from the median clock, in seconds.
    pub clock_difference_seconds: Gauge,
    /// Fenced replicas on this node.
    pub replicas_fenced: IntGauge,
    /// Replicas on this node that fail at every start.
    pub replicas_broken: IntGauge,
    stores: StoreGauges,
    state: StateGauges,
    disk: DiskGauges,
    request_bytes: IntGauge,
    answer_bytes: IntGauge,
    start_time: Gauge,
    runtime: Runtime,
}

impl Metrics {
    /// Creates and registers all metrics of a node whose binary has this version.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let r = Registrar::new()?;
        r.float_gauges("build_info", "Version of the binary; always 1.", &["version"])?
            .with_label_values(&[version])
            .set(1.0);
        r.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            labels: StoreLabels::default(),
            append_seconds: r
                .histogram("append_seconds", "Seconds of each append, from arrival at the gateway to the answer.")?,
            log_sync_seconds: r
                .histogram("log_sync_seconds", "Seconds of each batch written and synced to the log.")?,
            read_first_page_seconds: r
                .histogram("read_first_page_seconds", "Seconds of each read, from arrival to the first page.")?,
            subscription_lag_seconds: r.histogram(
                "subscription_lag_seconds",
                "Seconds from recording an event to delivery of the event to a caught-up subscriber.",
            )?,
            apply_seconds: r
                .histogram("apply_seconds", "Seconds of each batch of log entries applied to the state of a group.")?,
            calls: r.counters("calls_total", "Calls by method and gRPC code.", &["method", "code"])?,
            rejected: r.counters(
                "appends_rejected_total",
                "Appends refused for their content or for overload, by reason; counted once, by the refusing node.",
                &["store", "reason"],
            )?,
            appended_events: r.counters(
                "appended_events_total",
                "Events accepted by this node as leader.",
                &["store"],
            )?,
            appended_bytes: r.counters(
                "appended_bytes_total",
                "Payload bytes accepted by this node as leader.",
                &["store"],
            )?,
            subscribers: r.store_gauges("subscribers", "Open subscriptions.")?,
            call_seconds: r.histograms(
                "call_seconds",
                "Seconds of each call, from arrival until the answer began.",
                &["method"],
            )?,
            peer_connections: r.gauge("peer_connections", "Connections to peers with proven identity.")?,
            tasks_failed: r.counters(
                "tasks_failed_total",
                "Tasks that ended unexpectedly, by a panic in most cases; a defect of the program.",
                &["task"],
            )?,
            ready: r.gauge("ready", "1 while the node is ready.")?,
            clock_difference_seconds: r.float_gauge(
                "clock_difference_seconds",
                "Coordinator only: largest reported difference of a node's clock from the median clock.",
            )?,
            replicas_fenced: r.gauge(
                "replicas_fenced",
                "Fenced replicas on this node, stopped for good because their state contradicts the majority.",
            )?,
            replicas_broken: r.gauge(
                "replicas_broken",
                "Replicas on this node that do not run, because their starts failed repeatedly.",
            )?,
            stores: StoreGauges::register(&r)?,
            state: StateGauges::register(&r)?,
            disk: DiskGauges::register(&r)?,
            request_bytes: r.gauge(
                "request_bytes",
                "Bytes of requests until their outcome is known, queued appends of callers that have gone included.",
            )?,
            answer_bytes: r.gauge("answer_bytes", "Bytes of answers that are read, encoded or waiting to be sent.")?,
            start_time: r.float_gauge("start_time_seconds", "Unix time at which the node was started.")?,
            runtime: Runtime::register(&r)?,
            registry: r.0,
        })
    }

    /// Records the start time of the node, in microseconds since 1970.
    pub fn started(&self, unix_us: u64) {
        // A double holds microseconds since 1970 to better than a millisecond.
        self.start_time.set(unix_us as f64 / 1e6);
    }

    /// Returns the label of a store: the name for the first 200 stores, `other` for all further stores.
    #[must_use]
    pub fn store_label(&self, store: &str) -> String {
        self.labels.label(store)
    }

    /// Counts an append to an existing store, refused because of the content or because too many appends wait. Refusals
    /// because of leadership or time are not counted.
    pub fn reject(&self, store: &str, reason: &str) {
        self.rejected.with_label_values(&[self.store_label(store).as_str(), reason]).inc();
    }

    /// Removes labels and series of all stores but `live`, to free labels for new stores.
    pub fn retain_stores(&self, live: &BTreeSet<String>) {
        self.labels.retain(live, |store| {
            // Removing a missing series returns an error without a consequence. The gauges of samples are reset by each
            // sample.
            drop(self.appended_events.remove_label_values(&[store]));
            drop(self.appended_bytes.remove_label_values(&[store]));
            drop(self.subscribers.remove_label_values(&[store]));
            for reason in reasons_of(&self.rejected, store) {
                drop(self.rejected.remove_label_values(&[store, &reason]));
            }
        });
    }

    /// Sets the gauges of the state database.
    pub fn sample_state(&self, state: &StateSample) {
        self.state.set(state);
    }

    /// Sets the gauges of the disk.
    pub fn sample_disk(&self, disk: &DiskSample) {
        self.disk.set(disk);
    }

    /// Sets the gauges of the memory of calls, in bytes.
    pub fn sample_memory(&self, request_bytes: usize, answer_bytes: usize) {
        self.request_bytes.set(i64::try_from(request_bytes).unwrap_or(i64::MAX));
        self.answer_bytes.set(i64::try_from(answer_bytes).unwrap_or(i64::MAX));
    }

    /// Sets the gauges of all local replicas. The series of replicas without a sample disappear.
    pub fn sample(&self, coordinator: bool, samples: &[StoreSample]) {
        self.stores.set(coordinator, samples, &self.labels);
    }

    /// Returns all metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.runtime.sample();
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::warn!(%error, "metrics could not be rendered; the page is incomplete");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Returns the values of the label `reason` among the rejected appends of a store.
fn reasons_of(rejected: &IntCounterVec, store: &str) -> Vec<String> {
    let families = rejected.collect();
    let label = |metric: &prometheus::proto::Metric, name: &str| {
        metric.get_label().iter().find(|l| l.name() == name).map(|l| l.value().to_owned())
    };
    let series = families.iter().flat_map(|family| family.get_metric());
    series.filter(|m| label(m, "store").as_deref() == Some(store)).filter_map(|m| label(m, "reason")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store_labels::STORES_MAX;

    #[test]
    fn names_carry_the_prefix_and_counters_end_in_total() {
        let metrics = Metrics::new("1").unwrap();
        metrics.calls.with_label_values(&["Append", "OK"]).inc();
        metrics.sample(true, &[StoreSample { store: "default/orders".into(), ..StoreSample::default() }]);
        let text = metrics.render();
        for line in text.lines().filter(|l| l.starts_with("# TYPE")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert!(name.starts_with("taffrail_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        }
        assert!(text.contains("taffrail_store_events{store=\"default/orders\"}"));
    }

    #[test]
    fn store_labels_are_bounded() {
        let metrics = Metrics::new("1").unwrap();
        for i in 0..STORES_MAX {
            assert_eq!(metrics.store_label(&format!("s{i}")), format!("s{i}"));
        }
        assert_eq!(metrics.store_label("one-more"), "other");
        assert_eq!(metrics.store_label("s0"), "s0");
    }

    #[test]
    fn labels_of_stores_that_are_gone_are_given_again_and_their_series_go() {
        let metrics = Metrics::new("1").unwrap();
        for i in 0..=STORES_MAX {
            let label = metrics.store_label(&format!("s{i}"));
            metrics.appended_events.with_label_values(&[&label]).inc_by(3);
            metrics.appended_bytes.with_label_values(&[&label]).inc_by(3);
            metrics.subscribers.with_label_values(&[&label]).inc();
            metrics.reject(&format!("s{i}"), "WRONG_REVISION");
            metrics.reject(&format!("s{i}"), "OVERLOADED");
        }
        let live = (1..=STORES_MAX).map(|i| format!("s{i}")).collect();
        metrics.retain_stores(&live);
        let text = metrics.render();
        assert!(!text.contains("store=\"s0\""), "series of a store that is gone");
        assert!(text.contains("taffrail_appended_events_total{store=\"s1\"} 3"));
        assert!(text.contains("taffrail_appended_events_total{store=\"other\"} 3"), "the shared series stays");
        for store in ["s1", "other"] {
            let rejected = format!("taffrail_appends_rejected_total{{reason=\"OVERLOADED\",store=\"{store}\"}} 1");
            assert!(text.contains(&rejected), "{rejected}");
        }
        assert_eq!(
            metrics.store_label(&format!("s{STORES_MAX}")),
            format!("s{STORES_MAX}"),
            "a removed store frees its label"
        );
        assert_eq!(metrics.store_label("one-more"), "other");
    }
}
