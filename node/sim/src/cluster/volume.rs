//! [`SimVolume`]: the data directory of a simulated disk. Each change is durable at once; a crash may follow any change.

use crate::{disk::SimLogDisk, lock::lock};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use taffrail_core::ids::{DiskId, NodeId};
use taffrail_node::{
    disk_space::{MeasureSpace, Space},
    identity::{Error, Volume},
};

/// Crashes per thousand changes of the marker.
const CRASH_PERMILLE: u64 = 100;

/// Size of a simulated disk, in bytes.
pub const DISK_BYTES: u64 = 64 << 30;

/// The marker of a disk, the free bytes, and the generation of the databases. Clones share the content.
#[derive(Clone)]
pub struct SimVolume {
    log_disk: Arc<SimLogDisk>,
    marker: Arc<Mutex<Option<Vec<u8>>>>,
    generation: Arc<AtomicU64>,
    free_bytes: Arc<AtomicU64>,
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
        let free_bytes = Arc::new(AtomicU64::new(DISK_BYTES / 2));
        Self { log_disk, marker: Arc::default(), generation: Arc::default(), free_bytes }
    }

    /// Sets the free bytes of the disk.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
    }

    /// Replaces the disk by a blank disk.
    pub fn blank(&self) {
        self.set_free_bytes(DISK_BYTES / 2);
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

impl MeasureSpace for SimVolume {
    fn space(&self) -> io::Result<Space> {
        Ok(Space { total_bytes: DISK_BYTES, free_bytes: self.free_bytes.load(Ordering::Relaxed) })
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
