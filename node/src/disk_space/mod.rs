//! The room on the disk of a node: measured all the time, and compared with two marks.
//!
//! On a full disk the next write of the log fails, which ends the process, and so does each later start. The replicas of a
//! store fill their disks equally, so all copies would end together. The marks keep a reserve free:
//!
//! - Below the soft mark ([`Level::Low`]) the node refuses appends of clients as leader, and begins no catch-up.
//! - Below the hard mark ([`Level::Full`]) the node also refuses log entries of other leaders.
//!
//! Reads, elections, the catalogue and the deletion of stores go on at every level. The node takes appends again, without
//! a restart, once more than the mark and an eighth is free.
//!
//! - [`marks`]: the marks of a disk, and the level of the free bytes.
//! - [`follow`]: [`DiskSpace`] measures, and tells the parts of the node.

pub mod follow;
pub mod marks;

pub use follow::{DiskSpace, DiskState};
pub use marks::{Level, MarkSettings};

use std::{io, path::PathBuf};

/// Size of the file system of a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size, in bytes; 0 before the first measurement.
    pub total_bytes: u64,
    /// Bytes that the node may still write.
    pub free_bytes: u64,
}

/// Measures the disk of a node. A simulation answers with the numbers of a simulated disk.
pub trait MeasureSpace: Send + Sync {
    /// Measures the disk; may wait for the disk.
    ///
    /// # Errors
    /// When the file system does not answer.
    fn space(&self) -> io::Result<Space>;
}

/// The file system of a directory.
#[derive(Debug)]
pub struct FileSystem {
    path: PathBuf,
}

impl FileSystem {
    /// Measures the file system that holds `path`.
    #[must_use]
    pub fn of(path: PathBuf) -> Self {
        Self { path }
    }
}

impl MeasureSpace for FileSystem {
    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total_bytes: bytes(stat.f_blocks), free_bytes: bytes(stat.f_bavail) })
    }
}

#[cfg(test)]
mod tests;
