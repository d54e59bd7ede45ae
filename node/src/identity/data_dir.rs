//! [`DataDir`]: the open and locked data directory of a node.

use super::{Bootstrap, Error, marker::Marker};
use crate::atomic_file::{self, Error as IoError};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use uuid::Uuid;

/// Name of the marker file.
pub(super) const MARKER: &str = "taffrail.json";
/// Directory of the data of retired nodes, by node id.
pub(super) const RETIRED: &str = "retired";
/// Directories of the databases.
pub(super) const DATABASES: [&str; 2] = ["state", "log"];
const LOCK: &str = "lock";
/// All names that a node creates in its directory.
const OURS: &[&str] =
    &[MARKER, "taffrail.json.new", LOCK, RETIRED, "state", "log", "tmp", "peers.json", "peers.json.new"];

/// An open data directory. The lock is held until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    pub(super) path: PathBuf,
    pub(super) marker: Marker,
    _lock: File,
}

impl DataDir {
    /// Opens or creates the directory, locks it, and records the nonce of this start.
    ///
    /// # Errors
    /// Each variant of [`Error`] but `OtherCluster`. A refused directory is left unchanged.
    pub fn open(path: &Path, new_disk: impl FnOnce() -> Uuid, nonce: u64) -> Result<Self, Error> {
        if path.exists() && !path.is_dir() {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(IoError::at(path))?;
        let marker_path = path.join(MARKER);
        if !marker_path.exists() {
            // Before the lock, which is a file: the directory of another program is left unchanged.
            refuse_foreign(path)?;
        }
        // Before the marker is read: a marker read while another process holds the lock may be stale when it is written.
        let lock = lock(path)?;
        let found = match fs::read(&marker_path) {
            Ok(bytes) => Some(Marker::decode(&marker_path, &bytes)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(IoError::at(&marker_path)(e).into()),
        };
        if found.is_none() {
            for leftover in DATABASES {
                // The marker is written before any data and is never moved: data without a marker is damage.
                if path.join(leftover).exists() {
                    return Err(Error::Damaged { path: marker_path, why: format!("missing beside {leftover}/") });
                }
            }
        }
        let mut marker = found.unwrap_or_else(|| Marker::blank(new_disk()));
        marker.add_nonce(nonce);
        let mut this = Self { path: path.to_owned(), marker, _lock: lock };
        this.save()?;
        let tmp = path.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(IoError::at(&tmp))?;
        }
        this.finish_retirement()?;
        Ok(this)
    }

    pub(super) fn save(&mut self) -> Result<(), Error> {
        let bytes =
            self.marker.encode().map_err(|e| Error::Damaged { path: self.path.join(MARKER), why: e.to_string() })?;
        Ok(atomic_file::write(&self.path, MARKER, &bytes)?)
    }

    /// Path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the state database.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Path of the log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Cluster of the node, once known.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.marker.cluster_id.map(ClusterId::new)
    }

    /// Id of the disk.
    #[must_use]
    pub fn disk(&self) -> DiskId {
        DiskId::new(self.marker.disk_id)
    }

    /// Id of the node, once allocated.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.marker.node_id.map(NodeId::new)
    }

    /// Progress of this node in bootstrapping its cluster.
    #[must_use]
    pub fn bootstrap(&self) -> Bootstrap {
        self.marker.bootstrap
    }

    /// Start nonces, oldest first; the last nonce is that of this process.
    #[must_use]
    pub fn nonces(&self) -> &[u64] {
        &self.marker.nonces
    }

    /// Records the cluster. Repeating the same cluster changes nothing.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], or when the marker cannot be written.
    pub fn set_cluster(&mut self, cluster: ClusterId) -> Result<(), Error> {
        match self.cluster() {
            Some(is) if is == cluster => Ok(()),
            Some(is) => Err(Error::OtherCluster { is, wanted: cluster }),
            None => {
                self.marker.cluster_id = Some(cluster.uuid());
                self.save()
            }
        }
    }

    /// Records the node id.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn set_node(&mut self, node: NodeId) -> Result<(), Error> {
        self.marker.node_id = Some(node.get());
        self.save()
    }

    /// Records cluster and node id of the first node of a new cluster. Precedes every other step of the bootstrap.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], or when the marker cannot be written.
    pub fn begin_bootstrap(&mut self, cluster: ClusterId, node: NodeId) -> Result<(), Error> {
        if let Some(is) = self.cluster()
            && is != cluster
        {
            return Err(Error::OtherCluster { is, wanted: cluster });
        }
        self.marker.cluster_id = Some(cluster.uuid());
        self.marker.node_id = Some(node.get());
        self.marker.bootstrap = Bootstrap::Begun;
        self.save()
    }

    /// Records that the cluster exists.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn end_bootstrap(&mut self) -> Result<(), Error> {
        self.marker.bootstrap = Bootstrap::Done;
        self.save()
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
