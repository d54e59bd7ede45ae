//! [`Error`]: reasons against the use of a data directory.

use super::marker::FORMAT;
use crate::atomic_file;
use std::path::PathBuf;
use taffrail_core::ids::ClusterId;

/// Reason against the use of a data directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a file inside cannot be created, read or written.
    #[error("data directory {0}")]
    Io(#[from] atomic_file::Error),
    /// The path names something other than a directory.
    #[error("data directory {}: is not a directory; give the path of an existing or a new directory", path.display())]
    NotADirectory {
        /// Path from the configuration.
        path: PathBuf,
    },
    /// The directory holds files of another program.
    #[error(
        "data directory {}: holds {found:?} and no taffrail marker, so another program owns the directory; \
         give an empty directory",
        path.display()
    )]
    Foreign {
        /// Path of the directory.
        path: PathBuf,
        /// Name of a file of another program.
        found: String,
    },
    /// The marker has a format unknown to this version.
    #[error("{}: format {found}, this version knows {FORMAT}; start the version that wrote the marker", path.display())]
    Format {
        /// Path of the marker file.
        path: PathBuf,
        /// Format of the marker.
        found: u32,
    },
    /// The marker is damaged.
    #[error("{}: damaged ({why}); this disk must be replaced, not repaired by hand", path.display())]
    Damaged {
        /// Path of the marker file.
        path: PathBuf,
        /// The failed check.
        why: String,
    },
    /// Another process uses the directory.
    #[error("data directory {}: another process uses it; two nodes cannot share a directory", path.display())]
    Locked {
        /// Path of the directory.
        path: PathBuf,
    },
    /// The disk belongs to another cluster.
    #[error("this disk belongs to cluster {is}, not to {wanted}")]
    OtherCluster {
        /// The cluster of the disk.
        is: ClusterId,
        /// The requested cluster.
        wanted: ClusterId,
    },
}
