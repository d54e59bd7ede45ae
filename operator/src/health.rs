//! Metrics and probes over HTTP. Liveness is "the runtime turns", never the API server's health; readiness says whether
//! the kinds are served and the caches are filled.

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

/// The heart beats this often ...
const BEAT: Duration = Duration::from_secs(1);
/// ... and is missed after this long.
const BEAT_MISSED: Duration = Duration::from_secs(30);

/// What the probes report.
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
    /// Alive, and not ready until the kinds are served and `caches` caches have reported.
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

    /// The API server serves both kinds.
    pub fn kinds_served(&self) {
        self.inner.kinds_served.store(1, Ordering::Relaxed);
        self.inner.metrics.crds_found();
    }

    /// One more cache is filled.
    pub fn cache_filled(&self) {
        let less = |waiting: usize| Some(waiting.saturating_sub(1));
        let _before = self.inner.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Beats until stopped: proof that the runtime still schedules tasks.
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
