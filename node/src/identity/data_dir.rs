//! The data directory and its marker: which cluster, which disk, which node.
//!
//! The marker is one file, written aside, synced and renamed, with a checksum and a format version. A directory that is
//! not ours, of another format, damaged, or used by another process is refused. The disk id is minted at the first start
//! and never changes; the node id is allocated by the cluster; every start adds a nonce, synced before any peer is met.

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use taffrail_core::ids::{ClusterId, DiskId, NodeId};
use uuid::Uuid;

const MARKER: &str = "taffrail.json";
const LOCK: &str = "lock";
const RETIRED: &str = "retired";
const FORMAT: u32 = 1;
const NONCES_MAX: usize = 1024;
/// What a directory of ours may hold.
const OURS: &[&str] =
    &[MARKER, "taffrail.json.new", LOCK, RETIRED, "state", "log", "tmp", "peers.json", "peers.json.new"];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be made, read or written.
    #[error("data directory {}: {source}; {}", path.display(), remedy(source))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The path names something that is no directory.
    #[error("data directory {}: is not a directory; give the path of one, or of none yet", path.display())]
    NotADirectory {
        /// What is not a directory.
        path: PathBuf,
    },
    /// It holds files of somebody else.
    #[error(
        "data directory {}: holds {found:?} and no taffrail marker, so it is not this node's; give an empty directory",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A file that is not ours.
        found: String,
    },
    /// The marker has a format that this version does not know.
    #[error("{}: format {found}, this version knows {FORMAT}; start the version that wrote it", path.display())]
    Format {
        /// The marker.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The marker is damaged.
    #[error("{}: damaged ({why}); this disk must be replaced, not repaired by hand", path.display())]
    Damaged {
        /// The marker.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another process uses it.
    #[error("data directory {}: another process uses it; two nodes cannot share a directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The node already belongs elsewhere.
    #[error("this disk belongs to cluster {is}, not to {wanted}")]
    OtherCluster {
        /// The cluster it belongs to.
        is: ClusterId,
        /// The one it was told.
        wanted: ClusterId,
    },
}

/// How far this node is with making a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// Not this node.
    #[default]
    No,
    /// Told to, and perhaps not done: is done again at the next start.
    Begun,
    /// Done; never again.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    cluster_id: Option<Uuid>,
    disk_id: Uuid,
    node_id: Option<u64>,
    /// The node whose data is being moved away. Only this says that `state` and `log` are another node's: a blank node
    /// has both before it has a node id. Absent but during a retirement, so other markers keep their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retiring: Option<u64>,
    bootstrap: Bootstrap,
    nonces: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    crc32c: u32,
    marker: serde_json::Value,
}

/// An open data directory; the lock is held as long as it lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    marker: Marker,
    _lock: File,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "foreign and open-ended; what the system said is the best there is")]
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give the user of this process write access (in Kubernetes: fsGroup)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space, or grow the volume",
        _ => "check the volume and its mount",
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// Makes what was renamed or created in `dir` survive a crash.
fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error(dir))
}

/// Writes `bytes` so that after a crash the file is either the old or the new one.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (aside, path) = (dir.join(format!("{name}.new")), dir.join(name));
    let mut file = File::create(&aside).map_err(io_error(&aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error(&aside))?;
    fs::rename(&aside, &path).map_err(io_error(&path))?;
    sync_dir(dir)
}

fn encode(marker: &Marker) -> Result<Vec<u8>, serde_json::Error> {
    let value = serde_json::to_value(marker)?;
    let crc32c = crc32c::crc32c(serde_json::to_string(&value)?.as_bytes());
    serde_json::to_vec_pretty(&Envelope { format: FORMAT, crc32c, marker: value })
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Marker, Error> {
    let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if envelope.format != FORMAT {
        return Err(Error::Format { path: path.to_owned(), found: envelope.format });
    }
    let text = serde_json::to_string(&envelope.marker).map_err(|e| damaged(e.to_string()))?;
    if crc32c::crc32c(text.as_bytes()) != envelope.crc32c {
        return Err(damaged("checksum does not match".into()));
    }
    serde_json::from_value(envelope.marker).map_err(|e| damaged(e.to_string()))
}

fn lock(path: &Path) -> Result<File, Error> {
    let file_path = path.join(LOCK);
    let file =
        File::options().create(true).truncate(false).write(true).open(&file_path).map_err(io_error(&file_path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { path: path.to_owned() }),
        Err(e) => Err(Error::Io { path: file_path, source: e.into() }),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name().to_string_lossy().into_owned();
        if !OURS.contains(&name.as_str()) {
            return Err(Error::Foreign { path: path.to_owned(), found: name });
        }
    }
    Ok(())
}

impl DataDir {
    /// Opens or makes the directory, locks it, and records this start's nonce.
    ///
    /// # Errors
    /// See `Error`; nothing is changed in a directory that is refused.
    pub fn open(path: &Path, new_disk: impl FnOnce() -> Uuid, nonce: u64) -> Result<Self, Error> {
        if path.exists() && !path.is_dir() {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(io_error(path))?;
        let marker_path = path.join(MARKER);
        if !marker_path.exists() {
            // Before the lock, which is a file: a stranger's directory stays as it is.
            refuse_foreign(path)?;
        }
        // Before the marker is read: what was read while another process held the lock may be old when it is written back.
        let lock = lock(path)?;
        let found = match fs::read(&marker_path) {
            Ok(bytes) => Some(decode(&marker_path, &bytes)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(io_error(&marker_path)(e)),
        };
        if found.is_none() {
            for leftover in ["state", "log"] {
                // The marker is there before any data is, and is never moved: data without one is damage.
                if path.join(leftover).exists() {
                    return Err(Error::Damaged { path: marker_path, why: format!("missing beside {leftover}/") });
                }
            }
        }
        let mut marker = found.unwrap_or_else(|| Marker {
            format: FORMAT,
            cluster_id: None,
            disk_id: new_disk(),
            node_id: None,
            retiring: None,
            bootstrap: Bootstrap::No,
            nonces: Vec::new(),
        });
        marker.nonces.push(nonce);
        let excess = marker.nonces.len().saturating_sub(NONCES_MAX);
        marker.nonces.drain(..excess);
        let mut this = Self { path: path.to_owned(), marker, _lock: lock };
        this.save()?;
        let tmp = path.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(io_error(&tmp))?;
        }
        this.finish_retirement()?;
        Ok(this)
    }

    fn save(&mut self) -> Result<(), Error> {
        let bytes =
            encode(&self.marker).map_err(|e| Error::Damaged { path: self.path.join(MARKER), why: e.to_string() })?;
        write_atomically(&self.path, MARKER, &bytes)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Where the state database is.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path.join("state")
    }
    /// Where the log is.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }
    /// The cluster, once known.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.marker.cluster_id.map(ClusterId::new)
    }
    /// The disk.
    #[must_use]
    pub fn disk(&self) -> DiskId {
        DiskId::new(self.marker.disk_id)
    }
    /// The node id, once allocated.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.marker.node_id.map(NodeId::new)
    }
    /// How far this node is with making a cluster.
    #[must_use]
    pub fn bootstrap(&self) -> Bootstrap {
        self.marker.bootstrap
    }
    /// Start nonces, oldest first; the last one is this process.
    #[must_use]
    pub fn nonces(&self) -> &[u64] {
        &self.marker.nonces
    }

    /// Records the cluster. The same one again is fine.
    ///
    /// # Errors
    /// `OtherCluster`, or when the marker cannot be written.
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

    /// Records cluster and node id of the first node of a new cluster, before anything else is done for it.
    ///
    /// # Errors
    /// `OtherCluster`, or when the marker cannot be written.
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

    /// Moves this node's data to `retired/<node id>` and becomes a blank disk of the same cluster with a new disk id.
    /// Nothing may write to the databases any more, and the process ends afterwards. A crash in the middle is finished at
    /// the next open, before any database is opened: the marker names the node that is retired until all is moved.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn retire(&mut self, new_disk: Uuid) -> Result<(), Error> {
        let Some(node) = self.marker.node_id else { return Ok(()) };
        let place = self.path.join(RETIRED).join(node.to_string());
        fs::create_dir_all(&place).map_err(io_error(&place))?;
        sync_dir(&self.path.join(RETIRED))?;
        sync_dir(&self.path)?;
        write_atomically(&place, "disk", self.marker.disk_id.to_string().as_bytes())?;
        self.marker.node_id = None;
        self.marker.retiring = Some(node);
        self.marker.disk_id = new_disk;
        self.marker.bootstrap = Bootstrap::No;
        self.save()?;
        self.finish_retirement()
    }

    /// Moves what the retired node left. What is moved already is not there any more; nothing else can be, because no
    /// database is opened before this is done.
    fn finish_retirement(&mut self) -> Result<(), Error> {
        let Some(node) = self.marker.retiring else { return Ok(()) };
        let place = self.path.join(RETIRED).join(node.to_string());
        for name in ["state", "log"] {
            let from = self.path.join(name);
            if !from.exists() {
                continue;
            }
            fs::rename(&from, place.join(name)).map_err(io_error(&from))?;
            sync_dir(&place)?;
        }
        sync_dir(&self.path)?;
        self.marker.retiring = None;
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDir, Error> {
        DataDir::open(path, || Uuid::from_u128(7), 42)
    }

    #[test]
    fn identity_survives_a_restart_and_nonces_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let mut first = open(&path).unwrap();
        first.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
        first.set_node(NodeId::new(3)).unwrap();
        drop(first);
        let again = DataDir::open(&path, || Uuid::from_u128(8), 43).unwrap();
        assert_eq!(again.disk(), DiskId::new(Uuid::from_u128(7)));
        assert_eq!(again.node(), Some(NodeId::new(3)));
        assert_eq!(again.nonces(), [42, 43]);
    }

    #[test]
    fn a_second_process_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Locked { .. })));
        drop(held);
        assert!(open(dir.path()).is_ok());
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("precious"), "x").unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Foreign { found, .. }) if found == "precious"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_or_newer_marker_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let path = dir.path().join(MARKER);
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replace("42", "41")).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
        fs::write(&path, good.replacen("\"format\": 1", "\"format\": 9", 1)).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Format { found: 9, .. })));
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
    }

    #[test]
    fn data_without_a_marker_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
    }

    #[test]
    fn another_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = open(dir.path()).unwrap();
        data.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
        assert!(data.set_cluster(ClusterId::new(Uuid::from_u128(1))).is_ok());
        let other = ClusterId::new(Uuid::from_u128(2));
        assert!(matches!(data.set_cluster(other), Err(Error::OtherCluster { .. })));
        assert!(matches!(data.begin_bootstrap(other, NodeId::new(1)), Err(Error::OtherCluster { .. })));
    }

    #[test]
    fn a_retirement_keeps_the_data_and_makes_a_new_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = open(dir.path()).unwrap();
        data.set_cluster(ClusterId::new(Uuid::from_u128(1))).unwrap();
        data.set_node(NodeId::new(4)).unwrap();
        for name in ["state", "log"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("f"), name).unwrap();
        }
        data.retire(Uuid::from_u128(9)).unwrap();
        assert_eq!((data.node(), data.disk()), (None, DiskId::new(Uuid::from_u128(9))));
        assert!(data.cluster().is_some());
        assert_eq!(fs::read_to_string(dir.path().join("retired/4/state/f")).unwrap(), "state");
        assert!(!dir.path().join("log").exists());
        drop(data);
        assert_eq!(open(dir.path()).unwrap().disk(), DiskId::new(Uuid::from_u128(9)));
    }

    #[test]
    fn a_retirement_cut_short_is_finished_at_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = open(dir.path()).unwrap();
        data.set_node(NodeId::new(4)).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        data.retire(Uuid::from_u128(9)).unwrap();
        // as if the process had died after the marker was written and one folder was moved
        data.marker.retiring = Some(4);
        data.save().unwrap();
        fs::rename(dir.path().join("retired/4/log"), dir.path().join("log")).unwrap();
        drop(data);
        let again = open(dir.path()).unwrap();
        assert!(dir.path().join("retired/4/log").exists());
        assert!(!dir.path().join("log").exists());
        assert_eq!(again.marker.retiring, None);
    }

    #[test]
    fn a_retirement_cut_short_after_the_last_move_is_finished_at_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = open(dir.path()).unwrap();
        data.set_node(NodeId::new(4)).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        data.retire(Uuid::from_u128(9)).unwrap();
        data.marker.retiring = Some(4);
        data.save().unwrap();
        drop(data);
        assert_eq!(open(dir.path()).unwrap().marker.retiring, None);
        assert!(dir.path().join("retired/4/state").exists());
    }

    /// Makes the two databases, as a start does before the node has an id.
    fn databases(path: &Path, content: &str) {
        for name in ["state", "log"] {
            fs::create_dir(path.join(name)).unwrap();
            fs::write(path.join(name).join("f"), content).unwrap();
        }
    }

    #[test]
    fn a_blank_node_with_open_databases_can_be_started_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        databases(dir.path(), "blank");
        let again = open(dir.path()).unwrap();
        assert_eq!(again.node(), None);
        assert_eq!(fs::read_to_string(dir.path().join("state/f")).unwrap(), "blank");
        assert!(!dir.path().join(RETIRED).exists());
    }

    #[test]
    fn a_retired_disk_can_be_started_again_before_it_has_a_new_node_id() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = open(dir.path()).unwrap();
        data.set_node(NodeId::new(4)).unwrap();
        databases(dir.path(), "old");
        data.retire(Uuid::from_u128(9)).unwrap();
        drop(data);
        for _ in 0..2 {
            let again = open(dir.path()).unwrap();
            if !again.state_path().exists() {
                databases(dir.path(), "new");
            }
        }
        assert_eq!(fs::read_to_string(dir.path().join("retired/4/state/f")).unwrap(), "old");
        assert_eq!(fs::read_to_string(dir.path().join("state/f")).unwrap(), "new");
    }

    #[test]
    fn a_marker_outside_of_a_retirement_does_not_name_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        assert!(!fs::read_to_string(dir.path().join(MARKER)).unwrap().contains("retiring"));
    }

    #[test]
    fn a_file_is_not_a_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(matches!(open(&path), Err(Error::NotADirectory { .. })));
    }
}
