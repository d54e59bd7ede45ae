//! Metrics of one node. A value, not a global: many nodes may live in one process.

mod runtime;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};
use runtime::Runtime;
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};
use taffrail_store_api::StoreTotals;

/// Stores that have a label of their own; the rest share `other`.
const STORES_MAX: usize = 200;

/// Seconds, from 50 microseconds to 10 s.
fn latency_buckets() -> Vec<f64> {
    vec![0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
}

/// Every metric of a node.
pub struct Metrics {
    registry: Registry,
    stores: Mutex<BTreeSet<String>>,
    /// Append, from arrival at the gateway to its answer.
    pub append_seconds: Histogram,
    /// One batch written and synced to the log.
    pub log_sync_seconds: Histogram,
    /// Read, from arrival to its first page.
    pub read_first_page_seconds: Histogram,
    /// From recording an event to handing it to a subscriber that is caught up.
    pub subscription_lag_seconds: Histogram,
    /// One batch of entries applied to the state of a group.
    pub apply_seconds: Histogram,
    /// Calls by method and code.
    pub calls: IntCounterVec,
    rejected: IntCounterVec,
    /// Events accepted here as leader, by store.
    pub appended_events: IntCounterVec,
    /// Payload bytes accepted here as leader, by store.
    pub appended_bytes: IntCounterVec,
    /// Open subscriptions, by store.
    pub subscribers: IntGaugeVec,
    /// Seconds of each call until its answer began, by method.
    pub call_seconds: HistogramVec,
    /// Proven connections to peers.
    pub peer_connections: IntGauge,
    /// 1 while ready.
    pub ready: IntGauge,
    /// Replicas here that never run again because their data is not their group's.
    pub replicas_fenced: IntGauge,
    events: IntGaugeVec,
    last_position: IntGaugeVec,
    leader: IntGaugeVec,
    term: IntGaugeVec,
    commit_index: IntGaugeVec,
    applied_index: IntGaugeVec,
    quorum: IntGaugeVec,
    lag: IntGaugeVec,
    groups: IntGauge,
    coordinator: IntGauge,
    state_bytes: IntGauge,
    state_memtable_bytes: IntGauge,
    state_pending_compaction_bytes: IntGauge,
    clock: Gauge,
    runtime: Runtime,
}

/// The size of the state database, bytes over all column families.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSample {
    /// Live data in files.
    pub live_bytes: u64,
    /// Data in memory that no file holds yet.
    pub memtable_bytes: u64,
    /// Data that compaction has to rewrite.
    pub pending_compaction_bytes: u64,
}

/// What a scrape shows of one local replica.
#[derive(Clone, Debug, Default)]
pub struct StoreSample {
    /// `namespace/name`; `system` for the system group.
    pub store: String,
    /// Applied counters.
    pub totals: StoreTotals,
    /// True while this replica leads.
    pub leads: bool,
    /// Current term.
    pub term: u64,
    /// Committed, as this replica knows.
    pub committed: u64,
    /// Applied.
    pub applied: u64,
    /// Leader: a majority answers. Others: a leader is known.
    pub quorum: bool,
    /// Leader: entries that the slowest replica lacks.
    pub worst_lag: u64,
}

/// The reasons that a store's appends were refused for.
fn reasons_of(rejected: &IntCounterVec, store: &str) -> Vec<String> {
    let families = rejected.collect();
    let label = |metric: &prometheus::proto::Metric, name: &str| {
        metric.get_label().iter().find(|l| l.name() == name).map(|l| l.value().to_owned())
    };
    let series = families.iter().flat_map(|family| family.get_metric());
    series.filter(|m| label(m, "store").as_deref() == Some(store)).filter_map(|m| label(m, "reason")).collect()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let r = Registry::new_custom(Some("taffrail".into()), None)?;
        let histogram = |name: &str, help: &str| -> Result<Histogram, prometheus::Error> {
            let h = Histogram::with_opts(HistogramOpts::new(name, help).buckets(latency_buckets()))?;
            r.register(Box::new(h.clone()))?;
            Ok(h)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let c = IntCounterVec::new(Opts::new(name, help), labels)?;
            r.register(Box::new(c.clone()))?;
            Ok(c)
        };
        let gauges = |name: &str, help: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let g = IntGaugeVec::new(Opts::new(name, help), &["store"])?;
            r.register(Box::new(g.clone()))?;
            Ok(g)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let g = IntGauge::new(name, help)?;
            r.register(Box::new(g.clone()))?;
            Ok(g)
        };
        let info = GaugeVec::new(Opts::new("build_info", "Version of the binary; always 1."), &["version"])?;
        r.register(Box::new(info.clone()))?;
        info.with_label_values(&[version]).set(1.0);
        let clock = Gauge::new("start_time_seconds", "Unix time at which the node was started.")?;
        r.register(Box::new(clock.clone()))?;
        let call_seconds = HistogramVec::new(
            HistogramOpts::new("call_seconds", "Calls, from arrival until the answer began.")
                .buckets(latency_buckets()),
            &["method"],
        )?;
        r.register(Box::new(call_seconds.clone()))?;
        let this = Self {
            append_seconds: histogram("append_seconds", "Appends, from arrival at the gateway to the answer.")?,
            log_sync_seconds: histogram("log_sync_seconds", "Batches of log writes, with their sync.")?,
            apply_seconds: histogram("apply_seconds", "Batches of log entries applied to the state of a group.")?,
            read_first_page_seconds: histogram("read_first_page_seconds", "Reads, from arrival to the first page.")?,
            subscription_lag_seconds: histogram(
                "subscription_lag_seconds",
                "From recording an event to handing it to a caught-up subscriber.",
            )?,
            calls: counters("calls_total", "Calls by method and gRPC code.", &["method", "code"])?,
            rejected: counters(
                "appends_rejected_total",
                "Appends refused for what they ask, or because too many wait, by reason; counted once, where it is decided.",
                &["store", "reason"],
            )?,
            appended_events: counters("appended_events_total", "Events accepted by this node as leader.", &["store"])?,
            appended_bytes: counters(
                "appended_bytes_total",
                "Payload bytes accepted by this node as leader.",
                &["store"],
            )?,
            subscribers: gauges("subscribers", "Open subscriptions.")?,
            call_seconds,
            peer_connections: gauge("peer_connections", "Proven connections to peers.")?,
            ready: gauge("ready", "1 while the node is ready.")?,
            replicas_fenced: gauge(
                "replicas_fenced",
                "Replicas on this node that never run again, because they contradict the majority of their group.",
            )?,
            events: gauges("store_events", "Events stored, as applied here.")?,
            last_position: gauges("store_last_position", "Last position, as applied here.")?,
            leader: gauges("store_leader", "1 while the replica here leads.")?,
            term: gauges("store_term", "Raft term.")?,
            commit_index: gauges("store_commit_index", "Committed log index, as known here.")?,
            applied_index: gauges("store_applied_index", "Applied log index.")?,
            quorum: gauges("store_quorum", "1 while a majority answers (leader) or a leader is known (others).")?,
            lag: gauges("store_worst_lag", "Leader only: log entries that the slowest replica lacks.")?,
            groups: gauge("groups", "Replicas of groups on this node.")?,
            coordinator: gauge("coordinator", "1 while this node leads the system group.")?,
            state_bytes: gauge("state_bytes", "Live data of the state database, without what compaction will drop.")?,
            state_memtable_bytes: gauge("state_memtable_bytes", "State that is in memory and not flushed yet.")?,
            state_pending_compaction_bytes: gauge(
                "state_pending_compaction_bytes",
                "State that compaction has to rewrite, as RocksDB estimates.",
            )?,
            clock,
            runtime: Runtime::register(&r)?,
            stores: Mutex::default(),
            registry: r,
        };
        let process = prometheus::process_collector::ProcessCollector::for_self();
        this.registry.register(Box::new(process))?;
        Ok(this)
    }

    /// Records when the node was started.
    pub fn started(&self, unix_us: u64) {
        #[allow(
            clippy::cast_precision_loss,
            reason = "microseconds since 1970 fit a double to better than a millisecond"
        )]
        self.clock.set(unix_us as f64 / 1e6);
    }

    /// The label of a store: its own while there are few, `other` beyond.
    #[must_use]
    pub fn store_label(&self, store: &str) -> String {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if stores.contains(store) {
            return store.to_owned();
        }
        if stores.len() < STORES_MAX {
            stores.insert(store.to_owned());
            return store.to_owned();
        }
        "other".to_owned()
    }

    /// Counts an append to an existing store that was refused: nothing of it is stored, and that is no matter of who leads
    /// or of time.
    pub fn reject(&self, store: &str, reason: &str) {
        self.rejected.with_label_values(&[self.store_label(store).as_str(), reason]).inc();
    }

    /// Forgets the labels and the series of all stores but these, so that new stores can have labels of their own.
    pub fn retain_stores(&self, live: &BTreeSet<String>) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = stores.iter().filter(|s| !live.contains(*s)).cloned().collect();
        for store in gone {
            stores.remove(&store);
            // A series that was never made has nothing to remove; the other gauges are made anew by each sample.
            drop(self.appended_events.remove_label_values(&[&store]));
            drop(self.appended_bytes.remove_label_values(&[&store]));
            drop(self.subscribers.remove_label_values(&[&store]));
            for reason in reasons_of(&self.rejected, &store) {
                drop(self.rejected.remove_label_values(&[&store, &reason]));
            }
        }
    }

    /// Sets the gauges of the state database.
    pub fn sample_state(&self, state: &StateSample) {
        self.state_bytes.set(signed(state.live_bytes));
        self.state_memtable_bytes.set(signed(state.memtable_bytes));
        self.state_pending_compaction_bytes.set(signed(state.pending_compaction_bytes));
    }

    /// Sets the gauges of all local replicas; those that are gone disappear.
    pub fn sample(&self, coordinator: bool, samples: &[StoreSample]) {
        self.groups.set(i64::try_from(samples.len()).unwrap_or(i64::MAX));
        self.coordinator.set(coordinator.into());
        let all = [
            &self.events,
            &self.last_position,
            &self.leader,
            &self.term,
            &self.commit_index,
            &self.applied_index,
            &self.quorum,
            &self.lag,
        ];
        all.iter().for_each(|g| g.reset());
        for s in samples {
            let label = self.store_label(&s.store);
            let label = &[label.as_str()];
            self.events.with_label_values(label).set(signed(s.totals.events));
            self.last_position.with_label_values(label).set(signed(s.totals.last_position.get()));
            self.leader.with_label_values(label).set(s.leads.into());
            self.term.with_label_values(label).set(signed(s.term));
            self.commit_index.with_label_values(label).set(signed(s.committed));
            self.applied_index.with_label_values(label).set(signed(s.applied));
            self.quorum.with_label_values(label).set(s.quorum.into());
            if s.leads {
                self.lag.with_label_values(label).set(signed(s.worst_lag));
            }
        }
    }

    /// The text exposition.
    #[must_use]
    pub fn render(&self) -> String {
        self.runtime.sample();
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::warn!(%error, "metrics could not be rendered");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(text.contains("taffrail_appended_events_total{store=\"other\"} 3"), "what was shared stays");
        for store in ["s1", "other"] {
            let rejected = format!("taffrail_appends_rejected_total{{reason=\"OVERLOADED\",store=\"{store}\"}} 1");
            assert!(text.contains(&rejected), "{rejected}");
        }
        assert_eq!(metrics.store_label(&format!("s{STORES_MAX}")), format!("s{STORES_MAX}"), "there is room again");
        assert_eq!(metrics.store_label("one-more"), "other");
    }
}
