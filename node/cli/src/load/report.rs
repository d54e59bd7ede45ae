//! Counters, latencies and the report of a run.

use crate::failure::{Failure, reason};
use hdrhistogram::Histogram;
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use taffrail_client::Error;

/// Maximum recorded latency in microseconds; longer latencies are recorded as the maximum.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counters and latencies of one worker or of all workers.
#[derive(Clone, Debug)]
pub struct Tally {
    latency_us: Histogram<u64>,
    calls: u64,
    events: u64,
    bytes: u64,
    failures: BTreeMap<String, u64>,
}

impl Tally {
    /// Creates an empty tally.
    ///
    /// # Errors
    /// [`Failure::Local`] if the histogram cannot be created.
    pub fn new() -> Result<Self, Failure> {
        let latency_us = Histogram::new_with_max(LATENCY_MAX_US, 3).map_err(|e| Failure::Local(e.to_string()))?;
        Ok(Self { latency_us, calls: 0, events: 0, bytes: 0, failures: BTreeMap::new() })
    }

    /// Counts a successful call.
    pub fn done(&mut self, latency: Duration, events: u64, bytes: u64) {
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.calls += 1;
        self.events += events;
        self.bytes += bytes;
    }

    /// Counts a failed call by its stable reason.
    pub fn failed(&mut self, error: &Error) {
        let name = reason(error).map_or_else(|| "FAILED".to_owned(), ToOwned::to_owned);
        *self.failures.entry(name).or_default() += 1;
    }

    /// Adds the tally of another worker.
    pub fn add(&mut self, other: &Self) {
        self.latency_us.add(&other.latency_us).expect("both histograms were made by `new`, so the values fit");
        self.calls += other.calls;
        self.events += other.events;
        self.bytes += other.bytes;
        for (name, n) in &other.failures {
            *self.failures.entry(name.clone()).or_default() += n;
        }
    }
}

/// The result of a run.
pub struct Report {
    /// Flags of the run, as JSON.
    pub settings: serde_json::Value,
    /// Sum of the tallies of all workers.
    pub tally: Tally,
    /// Duration of the run without the warm-up.
    pub time: Duration,
}

impl Report {
    fn percentile_ms(&self, quantile: f64) -> f64 {
        // Integers of microseconds below ten minutes are exact in a 64-bit float.
        #[allow(clippy::cast_precision_loss, reason = "a latency of at most ten minutes")]
        let us = self.tally.latency_us.value_at_quantile(quantile) as f64;
        us / 1000.0
    }

    #[allow(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
    fn per_second(&self, n: u64) -> f64 {
        let seconds = self.time.as_secs_f64();
        if seconds > 0.0 { (n as f64 / seconds * 1000.0).round() / 1000.0 } else { 0.0 }
    }

    fn latencies(&self) -> [(&'static str, f64); 7] {
        [
            ("min", self.percentile_ms(0.0)),
            ("p50", self.percentile_ms(0.5)),
            ("p90", self.percentile_ms(0.9)),
            ("p99", self.percentile_ms(0.99)),
            ("p999", self.percentile_ms(0.999)),
            ("max", self.percentile_ms(1.0)),
            ("mean", (self.tally.latency_us.mean()).round() / 1000.0),
        ]
    }

    /// Formats the report as one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let latency: serde_json::Map<String, serde_json::Value> =
            self.latencies().into_iter().map(|(name, ms)| (name.to_owned(), json!(ms))).collect();
        json!({
            "settings": self.settings,
            "seconds": self.time.as_secs_f64(),
            "calls": self.tally.calls,
            "events": self.tally.events,
            "bytes": self.tally.bytes,
            "calls_per_second": self.per_second(self.tally.calls),
            "events_per_second": self.per_second(self.tally.events),
            "bytes_per_second": self.per_second(self.tally.bytes),
            "failures": self.tally.failures,
            "latency_ms": latency,
        })
        .to_string()
    }

    /// Formats the report as lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let t = &self.tally;
        let latencies: Vec<String> = self.latencies().iter().map(|(name, ms)| format!("{name} {ms:.3}")).collect();
        let failures: Vec<String> = t.failures.iter().map(|(name, n)| format!("{name} {n}")).collect();
        format!(
            "calls:     {} in {:.3} s, {:.1}/s\nevents:    {}, {:.1}/s\nbytes:     {}, {:.1}/s\nlatency:   {} (ms)\nfailures:  {}",
            t.calls,
            self.time.as_secs_f64(),
            self.per_second(t.calls),
            t.events,
            self.per_second(t.events),
            t.bytes,
            self.per_second(t.bytes),
            latencies.join(", "),
            if failures.is_empty() { "none".to_owned() } else { failures.join(", ") },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_its_workers_up() {
        let (mut a, mut b) = (Tally::new().unwrap(), Tally::new().unwrap());
        for ms in 1..=99 {
            a.done(Duration::from_millis(ms), 10, 100);
        }
        b.done(Duration::from_secs(1), 10, 100);
        b.failed(&Error::OutcomeUnknown { message: "m".into() });
        a.add(&b);
        let report = Report { settings: json!({}), tally: a, time: Duration::from_secs(2) };
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["calls"], &json["events"], &json["bytes"]), (&json!(100), &json!(1000), &json!(10_000)));
        assert_eq!(json["calls_per_second"], json!(50.0));
        assert_eq!(json["failures"], json!({"OUTCOME_UNKNOWN": 1}));
        let p50 = json["latency_ms"]["p50"].as_f64().unwrap();
        assert!((49.0..52.0).contains(&p50), "{p50}");
        assert!(report.text().contains("OUTCOME_UNKNOWN 1"));
    }
}
