//! Metrics of the tokio runtime, read when a page is rendered.

use crate::registrar::Registrar;
use prometheus::{Counter, IntGauge};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Handle;

/// Gauges of the threads, tasks and queue, and the busy time, of the tokio runtime.
pub(crate) struct Runtime {
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Mutex<Counter>,
}

impl Runtime {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        let busy = Counter::new("runtime_busy_seconds_total", "Seconds spent on tasks by the worker threads.")?;
        Ok(Self {
            workers: r.gauge("runtime_workers", "Worker threads of the runtime.")?,
            tasks: r.gauge("runtime_tasks", "Tasks not ended yet.")?,
            queue: r.gauge("runtime_queue_depth", "Tasks in the common queue, waiting for a worker thread.")?,
            busy: Mutex::new(r.add(busy)?),
        })
    }

    /// Sets the metrics from the runtime of the caller. Outside a runtime the metrics stay unchanged.
    pub(crate) fn sample(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let runtime = runtime.metrics();
        self.workers.set(count(runtime.num_workers()));
        self.tasks.set(count(runtime.num_alive_tasks()));
        self.queue.set(count(runtime.global_queue_depth()));
        // Summed under the lock: of two concurrent scrapes the later scrape must see the larger sum, or the same time
        // would be added twice.
        let counter = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let busy: Duration = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        counter.inc_by((busy.as_secs_f64() - counter.get()).max(0.0));
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    #[tokio::test]
    async fn metrics_of_the_runtime_are_rendered() {
        let metrics = Metrics::new("1").unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = taffrail_runtime::spawn(told);
        let text = metrics.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("taffrail_runtime_workers") >= 1.0);
        assert!(value("taffrail_runtime_tasks") >= 1.0, "the waiting task is counted");
        assert!(value("taffrail_runtime_queue_depth") >= 0.0);
        assert!(value("taffrail_runtime_busy_seconds_total") >= 0.0);
        tell.send(()).unwrap();
        waiting.await.unwrap().unwrap();
    }
}
