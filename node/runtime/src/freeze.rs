//! [`Freezer`]: stops all tasks of a simulated node for some time, as SIGSTOP stops a process.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// State of the tasks of a node.
#[derive(Default)]
pub(super) struct Freezer {
    /// Tasks to wake at the end of the stop; `None` while the tasks run.
    waiting: Mutex<Option<Vec<Waker>>>,
}

impl Freezer {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Waker>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all tasks before their next poll.
    pub(super) fn freeze(&self) {
        self.lock().get_or_insert_default();
    }

    /// Lets all tasks continue.
    pub(super) fn thaw(&self) {
        let waiting = self.lock().take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Adds a task to the stopped tasks; false while the tasks run.
    fn stops(&self, waker: &Waker) -> bool {
        match &mut *self.lock() {
            Some(waiting) => {
                waiting.push(waker.clone());
                true
            }
            None => false,
        }
    }

    /// Polls `future` only while the tasks run.
    pub(super) fn hold<F: Future>(self: Arc<Self>, future: F) -> impl Future<Output = F::Output> + use<F> {
        let mut future = Box::pin(future);
        poll_fn(move |context| if self.stops(context.waker()) { Poll::Pending } else { future.as_mut().poll(context) })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Clock, Scope, spawn};
    use tokio::{sync::mpsc, task::yield_now};

    struct Stopped;

    impl Clock for Stopped {
        fn now_us(&self) -> u64 {
            0
        }
    }

    #[tokio::test]
    async fn frozen_tasks_continue_after_the_thaw() {
        let scope = Scope::simulated(1, Box::new(Stopped));
        let (to, mut inbox) = mpsc::channel::<u32>(4);
        let (answer, mut answers) = mpsc::channel(4);
        // The inner task belongs to the node as well.
        let task = scope.spawn(async move {
            let inner = spawn(async move {
                while let Some(n) = inbox.recv().await {
                    answer.send(n).await.unwrap();
                }
            });
            inner.await.unwrap();
        });
        to.send(1).await.unwrap();
        assert_eq!(answers.recv().await, Some(1));
        scope.freeze();
        to.send(2).await.unwrap();
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(answers.try_recv().is_err(), "a frozen task does not answer");
        scope.thaw();
        assert_eq!(answers.recv().await, Some(2));
        drop(to);
        task.await.unwrap();
    }
}
