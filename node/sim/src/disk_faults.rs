//! [`DiskFaults`]: periods in which all writes to the disk of a host fail, and cuts of the power between two writes.

use crate::lock::lock;
use std::{
    io,
    sync::{Arc, Mutex},
};
use taffrail_raft::log::rocksdb_log::OnFatal;
use tokio::time::Instant;

/// Cuts the power of the node.
pub type CutPower = Arc<dyn Fn() + Send + Sync>;

/// Failing writes of a disk, the end of the node after a failed write, and the end of the node between two writes.
#[derive(Default)]
pub struct DiskFaults {
    cut_power: Mutex<Option<CutPower>>,
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

    /// Sets the callback that cuts the power of the node.
    pub fn set_cut_power(&self, cut_power: CutPower) {
        *lock(&self.cut_power) = Some(cut_power);
    }

    /// Cuts the power of the node at once.
    pub fn cut_power(&self) {
        let cut_power = lock(&self.cut_power).clone();
        if let Some(cut_power) = cut_power {
            cut_power();
        }
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
