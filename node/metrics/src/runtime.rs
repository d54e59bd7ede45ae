//! How busy the runtime is. Read when it is shown.

use prometheus::{Counter, IntGauge, Registry};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::runtime::Handle;

/// See the module.
pub(super) struct Runtime {
    workers: IntGauge,
    tasks: IntGauge,
    queue: IntGauge,
    busy: Mutex<Counter>,
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Runtime {
    /// Registers its metrics.
    ///
    /// # Errors
    /// When two metrics share a name.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let busy = Counter::new("runtime_busy_seconds_total", "Time that the runtime's threads spent on tasks.")?;
        registry.register(Box::new(busy.clone()))?;
        Ok(Self {
            workers: gauge("runtime_workers", "Threads that run tasks.")?,
            tasks: gauge("runtime_tasks", "Tasks that have not ended.")?,
            queue: gauge("runtime_queue_depth", "Tasks that wait for a thread in the common queue.")?,
            busy: Mutex::new(busy),
        })
    }

    /// Sets them to those of the runtime that asks; outside of one they stay as they are.
    pub(super) fn sample(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let runtime = runtime.metrics();
        self.workers.set(count(runtime.num_workers()));
        self.tasks.set(count(runtime.num_alive_tasks()));
        self.queue.set(count(runtime.global_queue_depth()));
        // Summed under the lock: of two scrapes at a time the later one must see the larger sum, or the same time would be
        // added twice.
        let counter = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let busy: Duration = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        counter.inc_by((busy.as_secs_f64() - counter.get()).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    #[tokio::test]
    async fn the_runtime_is_shown() {
        let metrics = Metrics::new("1").unwrap();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = taffrail_runtime::spawn(told);
        let text = metrics.render();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
            line.split(' ').nth(1).unwrap().parse().unwrap()
        };
        assert!(value("taffrail_runtime_workers") >= 1.0);
        assert!(value("taffrail_runtime_tasks") >= 1.0, "the one that waits");
        assert!(value("taffrail_runtime_queue_depth") >= 0.0);
        assert!(value("taffrail_runtime_busy_seconds_total") >= 0.0);
        tell.send(()).unwrap();
        waiting.await.unwrap().unwrap();
    }
}
