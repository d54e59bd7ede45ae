//! [`DiskFaults`]: periods in which all writes to the disk of a host fail.

use crate::lock::lock;
use std::{
    io,
    sync::{Arc, Mutex},
};
use taffrail_raft::log::rocksdb_log::OnFatal;
use tokio::time::Instant;

/// Failing writes of a disk, and the end of the node after a failed write.
#[derive(Default)]
pub struct DiskFaults {
    fails: Mutex<Option<(Instant, io::ErrorKind)>>,
    on_fatal: Mutex<Option<OnFatal>>,
}

impl DiskFaults {
    /// Lets every write fail with an error of this kind until this time.
    pub fn fail_until(&self, until: Instant, kind: io::ErrorKind) {
        *lock(&self.fails) = Some((until, kind));
    }

    /// Error of a write at this moment; `None` while writes succeed.
    #[must_use]
    pub fn write_error(&self) -> Option<io::Error> {
        let fails = *lock(&self.fails);
        fails.filter(|(until, _)| *until > Instant::now()).map(|(_, kind)| kind.into())
    }

    /// Sets the callback of a failed write, which ends the node.
    pub fn set_on_fatal(&self, on_fatal: OnFatal) {
        *lock(&self.on_fatal) = Some(on_fatal);
    }

    /// The callback of a failed write.
    #[must_use]
    pub fn on_fatal(&self) -> OnFatal {
        lock(&self.on_fatal).clone().unwrap_or_else(|| Arc::new(|_| {}))
    }
}
