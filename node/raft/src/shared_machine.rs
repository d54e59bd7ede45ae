//! [`SharedMachine`]: serialises the calls to a [`Machine`] and runs each call away from the runtime's threads.

use super::{
    log::rocksdb_log::OnFatal,
    machine::{Machine, MachineError},
};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use taffrail_runtime as rt;

/// A state machine shared between openraft's worker and the [`Group`](crate::group::Group). Cheap to clone: all clones
/// share the machine.
#[derive(Clone)]
pub struct SharedMachine {
    machine: Arc<Mutex<Box<dyn Machine>>>,
    on_fatal: OnFatal,
}

impl SharedMachine {
    /// Wraps `machine`; `on_fatal` is called when its storage fails.
    #[must_use]
    pub fn new(machine: Box<dyn Machine>, on_fatal: OnFatal) -> Self {
        Self { machine: Arc::new(Mutex::new(machine)), on_fatal }
    }
    pub(super) fn lock(&self) -> MutexGuard<'_, Box<dyn Machine>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Runs `work` on the machine, away from the runtime's threads.
    ///
    /// # Errors
    /// Returns the error of the machine, or `Interrupted` when the runtime shuts down. A [`MachineError::Storage`] is
    /// reported to `on_fatal` first.
    pub async fn with<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Machine) -> Result<T, MachineError> + Send + 'static,
    {
        self.blocking(move |this| work(&mut **this.lock())).await
    }

    /// Makes all entries applied before the call survive a crash. Entries are applied during the flush if the machine
    /// allows a flush without access to the machine.
    ///
    /// # Errors
    /// Returns the same errors as [`with`](Self::with).
    pub async fn flush(&self) -> io::Result<()> {
        self.blocking(|this| {
            let detached = this.lock().detached_flush();
            detached.map_or_else(|| this.lock().flush(), |flush| flush())
        })
        .await
    }

    async fn blocking<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, MachineError> + Send + 'static,
    {
        let this = self.clone();
        rt::blocking(move || work(&this)).await.map_err(|e| io::Error::new(io::ErrorKind::Interrupted, e))?.map_err(
            |e| {
                let failed = matches!(e, MachineError::Storage(_));
                let e = machine_error(e);
                if failed {
                    (self.on_fatal)(&e);
                }
                e
            },
        )
    }
}

fn machine_error(e: MachineError) -> io::Error {
    let kind = match &e {
        MachineError::Corrupt(_) => io::ErrorKind::InvalidData,
        MachineError::Unsupported(_) => io::ErrorKind::Unsupported,
        MachineError::Storage(_) => io::ErrorKind::Other,
    };
    io::Error::new(kind, e)
}
