//! [`SimVolume`]: the data directory of a simulated disk. Each change is durable at once; a crash may follow any change.

use crate::{disk::SimLogDisk, lock::lock};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use taffrail_core::ids::{DiskId, NodeId};
use taffrail_node::identity::{Error, Volume};

/// Crashes per thousand changes of the marker.
const CRASH_PERMILLE: u64 = 100;

/// The marker of a disk, and the generation of the databases. Clones share the content.
#[derive(Clone)]
pub struct SimVolume {
    log_disk: Arc<SimLogDisk>,
    marker: Arc<Mutex<Option<Vec<u8>>>>,
    generation: Arc<AtomicU64>,
}

impl fmt::Debug for SimVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimVolume").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl SimVolume {
    /// A blank volume beside a log disk.
    #[must_use]
    pub fn new(log_disk: Arc<SimLogDisk>) -> Self {
        Self { log_disk, marker: Arc::default(), generation: Arc::default() }
    }

    /// Replaces the disk by a blank disk.
    pub fn blank(&self) {
        *lock(&self.marker) = None;
        self.log_disk.set_aside();
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Path of the state database. A retirement moves the database away, so later starts use another path.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        PathBuf::from(format!("/state-{}", self.generation.load(Ordering::Relaxed)))
    }
}

impl Volume for SimVolume {
    fn path(&self) -> &Path {
        Path::new("/sim")
    }

    fn read_marker(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.marker).clone())
    }

    fn write_marker(&self, bytes: &[u8]) -> Result<(), Error> {
        *lock(&self.marker) = Some(bytes.to_vec());
        self.log_disk.wish_crash(CRASH_PERMILLE);
        Ok(())
    }

    fn database(&self) -> Option<&'static str> {
        (!self.log_disk.kept_logs().is_empty()).then_some("log")
    }

    fn clear_temporary(&self) -> Result<(), Error> {
        Ok(())
    }

    fn prepare_retirement(&self, _: NodeId, _: DiskId) -> Result<(), Error> {
        Ok(())
    }

    fn retire(&self, _: NodeId) -> Result<(), Error> {
        self.log_disk.set_aside();
        self.generation.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
