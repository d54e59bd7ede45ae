//! [`Volume`]: the medium of a data directory. [`Directory`] is a directory on the disk; a simulation keeps the
//! content in memory.

use super::Error;
use crate::atomic_file::{self, Error as IoError, sync_dir};
use rustix::fs::{FlockOperation, flock};
use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use taffrail_core::ids::{DiskId, NodeId};

/// Name of the marker file.
pub(super) const MARKER: &str = "taffrail.json";
/// Directory of the data of retired nodes, by node id.
pub(super) const RETIRED: &str = "retired";
/// Name of the file with the last known starts of other disks.
pub(super) const PEER_STARTS: &str = "peer-starts.json";
/// Directories of the databases.
const DATABASES: [&str; 2] = ["state", "log"];
const LOCK: &str = "lock";
/// All names that a node creates in its directory.
const OURS: &[&str] = &[
    MARKER,
    "taffrail.json.new",
    LOCK,
    RETIRED,
    "state",
    "log",
    "tmp",
    "peers.json",
    "peers.json.new",
    PEER_STARTS,
    "peer-starts.json.new",
];

/// The medium of a data directory: marker, databases and retired data. Every change is durable when the call returns, and a
/// crash leaves either the content before the call or the content after the call.
pub trait Volume: fmt::Debug + Send + Sync {
    /// Path of the directory, for error texts and for the databases.
    fn path(&self) -> &Path;
    /// Reads the marker; `None` on a blank disk.
    ///
    /// # Errors
    /// When the marker cannot be read.
    fn read_marker(&self) -> Result<Option<Vec<u8>>, Error>;
    /// Replaces the marker.
    ///
    /// # Errors
    /// When the marker cannot be written.
    fn write_marker(&self, bytes: &[u8]) -> Result<(), Error>;
    /// Returns the name of a database, if the disk has any.
    fn database(&self) -> Option<&'static str>;
    /// Removes files that only a running node needs.
    ///
    /// # Errors
    /// When the files cannot be removed.
    fn clear_temporary(&self) -> Result<(), Error>;
    /// Prepares a place for the data of `node`, labelled with the id of the disk.
    ///
    /// # Errors
    /// When the place cannot be written.
    fn prepare_retirement(&self, node: NodeId, disk: DiskId) -> Result<(), Error>;
    /// Moves the databases to the place of `node`. A missing database was moved before a crash; a database of another node
    /// cannot exist, because none is opened before the retirement is finished.
    ///
    /// # Errors
    /// When a database cannot be moved.
    fn retire(&self, node: NodeId) -> Result<(), Error>;
}

/// A directory on the disk. The lock is held until the value is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens or creates the directory, and locks the directory. A refused directory is left unchanged.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if path.exists() && !path.is_dir() {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(IoError::at(path))?;
        if !path.join(MARKER).exists() {
            // Before the lock, which is a file: the directory of another program is left unchanged.
            refuse_foreign(path)?;
        }
        // Before the marker is read: a marker read while another process holds the lock may be stale when it is written.
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    fn place(&self, node: NodeId) -> PathBuf {
        self.path.join(RETIRED).join(node.to_string())
    }
}

impl Volume for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_marker(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(MARKER);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(IoError::at(&path)(e).into()),
        }
    }

    fn write_marker(&self, bytes: &[u8]) -> Result<(), Error> {
        Ok(atomic_file::write(&self.path, MARKER, bytes)?)
    }

    fn database(&self) -> Option<&'static str> {
        DATABASES.into_iter().find(|name| self.path.join(name).exists())
    }

    fn clear_temporary(&self) -> Result<(), Error> {
        let tmp = self.path.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(IoError::at(&tmp))?;
        }
        Ok(())
    }

    fn prepare_retirement(&self, node: NodeId, disk: DiskId) -> Result<(), Error> {
        let place = self.place(node);
        fs::create_dir_all(&place).map_err(IoError::at(&place))?;
        sync_dir(&self.path.join(RETIRED))?;
        sync_dir(&self.path)?;
        Ok(atomic_file::write(&place, "disk", disk.to_string().as_bytes())?)
    }

    fn retire(&self, node: NodeId) -> Result<(), Error> {
        let place = self.place(node);
        for name in DATABASES {
            let from = self.path.join(name);
            if !from.exists() {
                continue;
            }
            fs::rename(&from, place.join(name)).map_err(IoError::at(&from))?;
            sync_dir(&place)?;
        }
        Ok(sync_dir(&self.path)?)
    }
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(IoError::at(path))? {
        let name = entry.map_err(IoError::at(path))?.file_name().to_string_lossy().into_owned();
        if !OURS.contains(&name.as_str()) {
            return Err(Error::Foreign { path: path.to_owned(), found: name });
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, Error> {
    let file_path = path.join(LOCK);
    let file =
        File::options().create(true).truncate(false).write(true).open(&file_path).map_err(IoError::at(&file_path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path: path.to_owned() }),
        Err(e) => Err(IoError::at(&file_path)(e.into()).into()),
    }
}
