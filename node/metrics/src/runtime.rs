//! Metrics of the tokio runtime, read when a page is rendered.

use crate::registrar::Registrar;
use prometheus::{Counter, IntGauge};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Handle;

/// Threads, tasks and queue of the runtime that renders a page.
pub(crate) struct Runtime {
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Mutex<Counter>,
}

impl Runtime {
    pub(crate) fn register(r: &Registrar) -> Result<Self, prometheus::Error> {
        let busy = Counter::new("runtime_busy_seconds_total", "Time that the runtime's threads spent on tasks.")?;
        Ok(Self {
            workers: r.gauge("runtime_workers", "Threads that run tasks.")?,
            tasks: r.gauge("runtime_tasks", "Tasks that have not ended.")?,
            queue: r.gauge("runtime_queue_depth", "Tasks that wait for a thread in the common queue.")?,
            busy: Mutex::new(r.add(busy)?),
        })
    }

    /// Sets the metrics from the runtime of the caller. Without a runtime they keep their values.
    pub(crate) fn sample(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let runtime = runtime.metrics();
        self.workers.set(count(runtime.num_workers()));
        self.tasks.set(count(runtime.num_alive_tasks()));
        self.queue.set(count(runtime.global_queue_depth()));
        // Summed under the lock: of two concurrent scrapes the later one must see the larger sum, or the same time would
        // be added twice.
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
        assert!(value("taffrail_runtime_tasks") >= 1.0, "the task that waits");
        assert!(value("taffrail_runtime_queue_depth") >= 0.0);
        assert!(value("taffrail_runtime_busy_seconds_total") >= 0.0);
        tell.send(()).unwrap();
        waiting.await.unwrap().unwrap();
    }
}
