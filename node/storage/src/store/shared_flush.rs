//! [`SharedFlush`]: lets concurrent callers of a flush share a single flush.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    /// Number of flushes begun so far.
    begun: u64,
    /// Number of the last successful flush; flushes are numbered from 1.
    succeeded: u64,
    running: bool,
    /// Number of callers waiting for a flush of another caller.
    waiting: usize,
}

/// Carries out flushes, never two at a time. A caller arriving during a flush waits for the next flush, because the
/// running flush may miss the caller's writes; all callers arriving meanwhile share this next flush.
#[derive(Debug, Default)]
pub(super) struct SharedFlush {
    state: Mutex<State>,
    changed: Condvar,
}

impl SharedFlush {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once a flush begun after the call has succeeded. Blocks the calling thread.
    ///
    /// # Errors
    /// Returns the error of the flush carried out by this call. The other callers of a failed flush try again.
    pub(super) fn run<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.lock();
        let wanted = state.begun + 1;
        state.waiting += 1;
        while state.running && state.succeeded < wanted {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        if state.succeeded >= wanted {
            return Ok(());
        }
        state.running = true;
        state.begun += 1;
        let number = state.begun;
        drop(state);
        let result = flush();
        let mut state = self.lock();
        state.running = false;
        if result.is_ok() {
            state.succeeded = number;
        }
        drop(state);
        self.changed.notify_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    };
    use taffrail_runtime as rt;

    #[test]
    fn callers_during_a_flush_share_the_next() {
        let (shared, flushes) = (Arc::new(SharedFlush::default()), Arc::new(AtomicUsize::new(0)));
        let (begun, has_begun) = sync_channel(1);
        let (go_on, goes_on) = sync_channel::<()>(1);
        let mut threads = Vec::new();
        let (s, n) = (Arc::clone(&shared), Arc::clone(&flushes));
        threads.push(rt::thread("first", move || {
            let flush = || {
                n.fetch_add(1, Ordering::SeqCst);
                begun.send(()).unwrap();
                goes_on.recv().unwrap();
                Ok::<_, ()>(())
            };
            s.run(flush).unwrap();
        }));
        has_begun.recv().unwrap();
        for _ in 0..8 {
            let (s, n) = (Arc::clone(&shared), Arc::clone(&flushes));
            threads.push(rt::thread("later", move || {
                let flush = || {
                    n.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, ()>(())
                };
                s.run(flush).unwrap();
            }));
        }
        while shared.lock().waiting < 8 {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        for thread in threads {
            thread.unwrap().join().unwrap();
        }
        assert_eq!(flushes.load(Ordering::SeqCst), 2, "eight groups share a flush");
        shared.run(|| Err("no space")).unwrap_err();
        let flush = || {
            flushes.store(0, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        shared.run(flush).unwrap();
        assert_eq!(flushes.load(Ordering::SeqCst), 0, "a failed flush serves nobody");
    }
}
