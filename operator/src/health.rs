//! Metrics and probes over HTTP.
//!
//! - Liveness: the runtime schedules tasks. The health of the API server never counts.
//! - Readiness: the API server serves both kinds, and the caches are filled.

use crate::metrics::Metrics;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval of the heartbeat.
const BEAT: Duration = Duration::from_secs(1);
/// Maximum age of the last heartbeat; above this age liveness fails.
const BEAT_MISSED: Duration = Duration::from_secs(30);

/// State reported by the probes.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    beat_ms: AtomicU64,
    waiting: AtomicUsize,
    kinds_served: AtomicUsize,
    metrics: Metrics,
}

impl Health {
    /// Creates a live state, not ready yet. Readiness needs both kinds and `caches` calls of [`Self::cache_filled`].
    pub fn new(metrics: Metrics, caches: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                beat_ms: AtomicU64::new(0),
                waiting: AtomicUsize::new(caches),
                kinds_served: AtomicUsize::new(0),
                metrics,
            }),
        }
    }

    /// Notes both kinds as served by the API server.
    pub fn kinds_served(&self) {
        self.inner.kinds_served.store(1, Ordering::Relaxed);
        self.inner.metrics.crds_found();
    }

    /// Notes the caches of another scope as filled.
    pub fn cache_filled(&self) {
        let less = |waiting: usize| Some(waiting.saturating_sub(1));
        let _before = self.inner.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Records a heartbeat every second until `stop` is cancelled, to prove that the runtime schedules tasks.
    pub async fn beat(&self, stop: CancellationToken) {
        let mut every = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let elapsed = u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.inner.beat_ms.store(elapsed, Ordering::Relaxed);
        }
    }
}

impl taffrail_http::Probes for Health {
    fn live(&self) -> Result<(), String> {
        let last = Duration::from_millis(self.inner.beat_ms.load(Ordering::Relaxed));
        let silent = self.inner.started.elapsed().saturating_sub(last);
        if silent > BEAT_MISSED { Err(format!("no heartbeat for {} s", silent.as_secs())) } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), String> {
        if self.inner.kinds_served.load(Ordering::Relaxed) == 0 {
            return Err(
                "waiting for the API server to serve taffrail.io/v1alpha1; install the chart taffrail-crds".to_owned()
            );
        }
        match self.inner.waiting.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(format!("filling {n} caches")),
        }
    }

    fn metrics(&self) -> Result<String, String> {
        let text = self.inner.metrics.text().map_err(|e| e.to_string())?;
        String::from_utf8(text).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_http::Probes;

    #[test]
    fn readiness_names_what_it_waits_for() {
        let health = Health::new(Metrics::new().expect("unique names"), 2);
        assert_eq!(health.live(), Ok(()));
        assert!(health.ready().unwrap_err().contains("taffrail-crds"));
        health.kinds_served();
        assert_eq!(health.ready().unwrap_err(), "filling 2 caches");
        health.cache_filled();
        health.cache_filled();
        assert_eq!(health.ready(), Ok(()));
        assert!(health.metrics().expect("a page").contains("taffrail"));
    }
}
