//! [`SimVolume`]: the data directory of a simulated disk, without log and state database. Each change is durable at once; a crash may follow any change.

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
    identity::{Error, RecordFile, Volume},
};

/// Requests of a crash per thousand changes of the marker.
const CRASH_PERMILLE: u64 = 100;
/// Power cuts per thousand changes, right after the change.
const STEP_PERMILLE: u64 = 10;

/// Size of a simulated disk, in bytes.
pub const DISK_BYTES: u64 = 64 << 30;

/// A copy of a disk without the log: marker, records of the peers' starts, and path of a copy of the state database.
pub struct VolumeCopy {
    marker: Option<Vec<u8>>,
    peer_starts: Option<Vec<u8>>,
    state: PathBuf,
}

/// The marker of a disk, the records of the peers' starts, the free bytes, and the generation of the databases. Clones
/// share the content.
#[derive(Clone)]
pub struct SimVolume {
    log_disk: Arc<SimLogDisk>,
    marker: Arc<Mutex<Option<Vec<u8>>>>,
    peer_starts: Arc<Mutex<Option<Vec<u8>>>>,
    generation: Arc<AtomicU64>,
    free_bytes: Arc<AtomicU64>,
    /// Path of a restored state database; `None` for the database of the generation.
    restored: Arc<Mutex<Option<PathBuf>>>,
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
        let (marker, peer_starts, restored) = (Arc::default(), Arc::default(), Arc::default());
        let free_bytes = Arc::new(AtomicU64::new(DISK_BYTES / 2));
        Self { log_disk, marker, peer_starts, generation: Arc::default(), free_bytes, restored }
    }

    /// Sets the free bytes of the disk.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
    }

    /// Replaces the disk by a blank disk.
    pub fn blank(&self) {
        self.set_free_bytes(DISK_BYTES / 2);
        *lock(&self.marker) = None;
        *lock(&self.peer_starts) = None;
        self.blank_databases();
    }

    fn blank_databases(&self) {
        self.log_disk.set_aside();
        self.generation.fetch_add(1, Ordering::Relaxed);
        *lock(&self.restored) = None;
    }

    /// Copies the disk, with the path of a copy of the state database.
    #[must_use]
    pub fn copy(&self, state: PathBuf) -> VolumeCopy {
        VolumeCopy { marker: lock(&self.marker).clone(), peer_starts: lock(&self.peer_starts).clone(), state }
    }

    /// Replaces the content of the disk by an earlier copy.
    pub fn restore(&self, copy: VolumeCopy) {
        *lock(&self.marker) = copy.marker;
        *lock(&self.peer_starts) = copy.peer_starts;
        *lock(&self.restored) = Some(copy.state);
    }

    /// Path of the state database. A retirement moves the database away, so later starts use another path.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        let of_generation = || PathBuf::from(format!("/state-{}", self.generation.load(Ordering::Relaxed)));
        lock(&self.restored).clone().unwrap_or_else(of_generation)
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
        self.log_disk.durable_step(STEP_PERMILLE);
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
        self.blank_databases();
        self.log_disk.durable_step(STEP_PERMILLE);
        Ok(())
    }
}

impl RecordFile for SimVolume {
    fn path(&self) -> PathBuf {
        "/sim/peer-starts".into()
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.peer_starts).clone())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        *lock(&self.peer_starts) = Some(bytes.to_vec());
        self.log_disk.durable_step(STEP_PERMILLE);
        Ok(())
    }
}
