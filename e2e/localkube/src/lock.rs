//! Lock of a state root: serializes `up` and `down`, so two clusters never choose the same addresses.

use crate::error::{Error, Io};
use rustix::fs::{FlockOperation, flock};
use std::{fs::File, io, path::Path};

/// Waits for the lock of all clusters below `root`. The lock is held until the returned file is closed.
pub(crate) async fn acquire(root: &Path, progress: &(dyn Fn(&str) + Sync)) -> Result<File, Error> {
    let failed = |source: io::Error| Io::new("lock", root, source);
    let file = File::open(root).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => progress("waiting for another localkube command to end"),
        Err(error) => return Err(failed(error.into()).into()),
    }
    #[expect(clippy::disallowed_methods, reason = "no part of a simulation; the caller awaits this task")]
    let waiting = tokio::task::spawn_blocking(move || flock(&file, FlockOperation::LockExclusive).map(|()| file));
    let locked = waiting.await.map_err(|error| failed(io::Error::other(error)))?;
    Ok(locked.map_err(|error| failed(error.into()))?)
}
