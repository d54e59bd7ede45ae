//! [`SharedMachine`]: serialises the calls to a [`Machine`], runs each call away from the runtime's threads, and ends the
//! machine when the replica stops.

use super::{
    log::rocksdb_log::OnFatal,
    machine::{Machine, MachineError},
};
use std::{io, sync::Arc};
use taffrail_runtime as rt;
use tokio::sync::Mutex;

/// A state machine shared between openraft's worker and the [`Group`](crate::group::Group). Cheap to clone: all clones
/// share the machine.
#[derive(Clone)]
pub struct SharedMachine {
    /// Empty after [`close`](Self::close), and after a call that panicked.
    machine: Arc<Mutex<Option<Box<dyn Machine>>>>,
    on_fatal: OnFatal,
}

impl SharedMachine {
    /// Wraps `machine`; `on_fatal` is called when its storage fails.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>, on_fatal: OnFatal) -> Self {
        Self { machine: Arc::new(Mutex::new(Some(machine))), on_fatal }
    }

    /// Runs `work` on the machine, away from the runtime's threads. A waiting call occupies no thread.
    ///
    /// # Errors
    /// Returns the error of the machine, or `Interrupted` when the work panics or the runtime shuts down. A
    /// [`MachineError::Storage`] is reported to `on_fatal` first. After [`close`](Self::close), and after a panic, every
    /// call returns [`MachineError::Closed`] as the source of an error of kind `NotConnected`.
    pub async fn with<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Machine) -> Result<T, MachineError> + Send + 'static,
    {
        let mut slot = Arc::clone(&self.machine).lock_owned().await;
        self.blocking(move || {
            // A panic drops the machine, because the state in memory may differ from the rows.
            let mut machine = slot.take().ok_or(MachineError::Closed)?;
            let done = work(&mut *machine);
            *slot = Some(machine);
            done
        })
        .await
    }

    /// Makes all entries applied before the call survive a crash. Entries are applied during the flush if the machine
    /// allows a flush without access to the machine.
    ///
    /// # Errors
    /// Returns the same errors as [`with`](Self::with).
    pub async fn flush(&self) -> io::Result<()> {
        match self.with(|machine| Ok(machine.detached_flush())).await? {
            Some(flush) => self.blocking(flush).await,
            None => self.with(|machine| machine.flush()).await,
        }
    }

    /// Waits for the end of the call in progress and takes the machine out. No later call reaches the machine, whoever
    /// still holds a clone. Returns `None` after an earlier close or a panic.
    pub async fn close(&self) -> Option<Box<dyn Machine>> {
        self.machine.lock().await.take()
    }

    async fn blocking<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, MachineError> + Send + 'static,
    {
        rt::blocking(work).await.map_err(|e| io::Error::new(io::ErrorKind::Interrupted, e))?.map_err(|e| {
            let failed = matches!(e, MachineError::Storage(_));
            let e = machine_error(e);
            if failed {
                (self.on_fatal)(&e);
            }
            e
        })
    }
}

fn machine_error(e: MachineError) -> io::Error {
    let kind = match &e {
        MachineError::Corrupt(_) => io::ErrorKind::InvalidData,
        MachineError::Unsupported(_) => io::ErrorKind::Unsupported,
        MachineError::Storage(_) => io::ErrorKind::Other,
        MachineError::Closed => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, e)
}
