//! [`DataDir`]: the identity of a node in the data directory of the node.

use super::{
    Bootstrap, Error,
    marker::Marker,
    volume::{Directory, MARKER, Volume},
};
use std::path::{Path, PathBuf};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use taffrail_raft::peer::starts::Start;
use uuid::Uuid;

/// An open data directory. A directory on the disk is locked until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    pub(super) volume: Box<dyn Volume>,
    pub(super) marker: Marker,
}

impl DataDir {
    /// Opens or creates a directory on the disk, and locks the directory.
    ///
    /// # Errors
    /// Each variant of [`Error`] but `OtherCluster`. A refused directory is left unchanged.
    pub fn open(path: &Path, new_disk: impl FnOnce() -> Uuid) -> Result<Self, Error> {
        Self::on(Box::new(Directory::open(path)?), new_disk)
    }

    /// Opens the data directory on a volume.
    ///
    /// # Errors
    /// When the volume fails, or the marker is damaged, missing beside data, or of an unknown format.
    pub fn on(volume: Box<dyn Volume>, new_disk: impl FnOnce() -> Uuid) -> Result<Self, Error> {
        let marker_path = volume.path().join(MARKER);
        let found = match volume.read_marker()? {
            Some(bytes) => Some(Marker::decode(&marker_path, &bytes)?),
            None => None,
        };
        if found.is_none()
            && let Some(leftover) = volume.database()
        {
            // The marker is written before any data and is never moved: data without a marker is damage.
            return Err(Error::Damaged { path: marker_path, why: format!("missing beside {leftover}/") });
        }
        let marker = found.unwrap_or_else(|| Marker::blank(new_disk()));
        let mut this = Self { volume, marker };
        this.save()?;
        this.volume.clear_temporary()?;
        this.finish_retirement()?;
        Ok(this)
    }

    pub(super) fn save(&self) -> Result<(), Error> {
        let path = || self.path().join(MARKER);
        let bytes = self.marker.encode().map_err(|e| Error::Damaged { path: path(), why: e.to_string() })?;
        self.volume.write_marker(&bytes)
    }

    /// Path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.volume.path()
    }

    /// Path of the state database.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Path of the log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path().join("log")
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

    /// The starts of this disk, oldest first; the last start is that of this process.
    #[must_use]
    pub fn starts(&self) -> Vec<Start> {
        self.marker.starts.iter().copied().map(Start::from).collect()
    }

    /// Records the start of this process. The caller has opened the log and has contacted no peer yet, so peers know each
    /// start with the place of the log before the first write of the start.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn record_start(&mut self, start: Start) -> Result<(), Error> {
        self.marker.add_start(start);
        self.save()
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
