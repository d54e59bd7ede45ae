//! [`PeerStarts`]: the latest state of each peer's disk that this node has seen, kept on this disk.
//!
//! The file is JSON: the format version, a checksum, and the records as a nested value. A new start of a peer is synced
//! before the peer is accepted. A higher place of the log is synced at most once a second, so a peer whose disk goes back
//! by less than that is not noticed if this node crashes at the same time.
//!
//! The file also has the evidence against the own disk, if a peer has found that the own disk went back. The evidence
//! keeps the node fenced across restarts, until the disk is retired and gets another disk id.

use super::{Error, volume::PEER_STARTS};
use crate::atomic_file;
use serde::{Deserialize, Serialize};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_core::ids::DiskId;
use taffrail_proto::peer::Identity;
use taffrail_raft::{
    log::{floor::Floor, rocksdb_log::OnFatal},
    peer::starts::{Seen, starts_of},
};
use taffrail_runtime as rt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Version of the file format, for reading and writing.
const FORMAT: u32 = 1;
/// Maximum number of remembered disks, many times the nodes of a cluster. The disk whose last start was
/// recorded first is forgotten first.
const DISKS_MAX: usize = 1024;
/// Shortest time between two writes that only raise places of logs.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// The medium of the records. A write is durable when the call returns, and a crash leaves either the content before the
/// call or the content after the call.
pub trait RecordFile: fmt::Debug + Send + Sync {
    /// Path of the file, for error texts.
    fn path(&self) -> PathBuf;
    /// Reads the file; `None` if the file does not exist.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&self) -> Result<Option<Vec<u8>>, Error>;
    /// Replaces the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn write(&self, bytes: &[u8]) -> Result<(), Error>;
}

/// The file in a data directory on the disk.
#[derive(Debug)]
struct InDirectory(PathBuf);

impl RecordFile for InDirectory {
    fn path(&self) -> PathBuf {
        self.0.join(PEER_STARTS)
    }
    fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        match std::fs::read(self.path()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(atomic_file::Error::at(&self.path())(e).into()),
        }
    }
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        Ok(atomic_file::write(&self.0, PEER_STARTS, bytes)?)
    }
}

/// Latest seen state of a disk, as stored. The fields of all stored types are in alphabetical order, so the checksum does
/// not depend on whether serde_json sorts the keys of a nested value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    batch: u64,
    disk_id: Uuid,
    nonce: u64,
    segment: u64,
}

impl Record {
    fn new(disk: DiskId, Seen { nonce, floor: Floor { segment, batch } }: Seen) -> Self {
        Self { batch, disk_id: disk.uuid(), nonce, segment }
    }
    fn seen(&self) -> Seen {
        Seen { nonce: self.nonce, floor: Floor { segment: self.segment, batch: self.batch } }
    }
}

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    /// Evidence against the own disk, with the id of the disk.
    own: Option<Record>,
    /// Disks of peers, in the order of the records of their last starts.
    peers: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    crc32c: u32,
    records: serde_json::Value,
}

impl Records {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        let crc32c = crc32c::crc32c(serde_json::to_string(&value)?.as_bytes());
        serde_json::to_vec_pretty(&Envelope { format: FORMAT, crc32c, records: value })
    }

    /// Decodes the content of the file at `path`; errors name the path.
    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if envelope.format != FORMAT {
            return Err(Error::Format { path: path.to_owned(), found: envelope.format });
        }
        let text = serde_json::to_string(&envelope.records).map_err(|e| damaged(e.to_string()))?;
        if crc32c::crc32c(text.as_bytes()) != envelope.crc32c {
            return Err(damaged("checksum does not match".into()));
        }
        serde_json::from_value(envelope.records).map_err(|e| damaged(e.to_string()))
    }

    fn of(&self, disk: DiskId) -> Option<Seen> {
        self.peers.iter().find(|r| r.disk_id == disk.uuid()).map(Record::seen)
    }

    /// Records the state of a disk that continues from the recorded state. Returns true for a new start.
    fn note(&mut self, disk: DiskId, seen: Seen) -> bool {
        if let Some(known) = self.peers.iter_mut().find(|r| r.disk_id == disk.uuid() && r.nonce == seen.nonce) {
            *known = Record::new(disk, Seen { floor: seen.floor.max(known.seen().floor), ..seen });
            return false;
        }
        self.peers.retain(|r| r.disk_id != disk.uuid());
        self.peers.push(Record::new(disk, seen));
        let excess = self.peers.len().saturating_sub(DISKS_MAX);
        self.peers.drain(..excess);
        true
    }
}

/// The records and their file.
pub struct PeerStarts {
    file: Box<dyn RecordFile>,
    records: Mutex<Records>,
    /// Content of the file.
    synced: Mutex<Records>,
    /// Held during a write.
    writing: tokio::sync::Mutex<()>,
    /// Wakes the task of [`PeerStarts::write_behind`].
    raised: Notify,
    on_fatal: OnFatal,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PeerStarts {
    /// Opens the records in a data directory. The caller holds the lock of the directory. A failed write calls `on_fatal`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has an unknown format.
    pub fn in_directory(path: &Path, on_fatal: OnFatal) -> Result<Arc<Self>, Error> {
        Self::open(Box::new(InDirectory(path.to_owned())), on_fatal)
    }

    /// Opens the records on a medium.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has an unknown format.
    pub fn open(file: Box<dyn RecordFile>, on_fatal: OnFatal) -> Result<Arc<Self>, Error> {
        let records = match file.read()? {
            Some(bytes) => Records::decode(&file.path(), &bytes)?,
            None => Records::default(),
        };
        let (synced, records) = (Mutex::new(records.clone()), Mutex::new(records));
        let (writing, raised) = (tokio::sync::Mutex::default(), Notify::new());
        Ok(Arc::new(Self { file, records, synced, writing, raised, on_fatal }))
    }

    /// Compares the identity of a peer with the recorded state of the same disk, and records the present state. A new start
    /// is synced when the call returns.
    ///
    /// # Errors
    /// The recorded state, if the disk does not continue from this state.
    pub async fn meet(self: &Arc<Self>, peer: &Identity) -> Result<(), Seen> {
        let Some(disk) = DiskId::from_slice(&peer.disk_id) else { return Ok(()) };
        let (seen, new_start) = {
            let mut records = lock(&self.records);
            if let Some(known) = records.of(disk).filter(|known| !known.is_continued_by(&starts_of(peer))) {
                return Err(known);
            }
            let Some(seen) = Seen::of(peer) else { return Ok(()) };
            (seen, records.note(disk, seen))
        };
        // Of two handshakes of a start at the same time, the second waits for the write of the first.
        if new_start || self.synced(disk).is_none_or(|synced| synced.nonce != seen.nonce) {
            self.sync().await;
        } else {
            self.raised.notify_one();
        }
        Ok(())
    }

    /// Returns the evidence against the own disk.
    #[must_use]
    pub fn against(&self, own: DiskId) -> Option<Seen> {
        lock(&self.records).own.filter(|r| r.disk_id == own.uuid()).map(|r| r.seen())
    }

    /// Records evidence against the own disk. The evidence is synced when the call returns.
    pub async fn accuse(self: &Arc<Self>, own: DiskId, seen: Seen) {
        lock(&self.records).own = Some(Record::new(own, seen));
        self.sync().await;
    }

    /// Returns the synced state of a disk.
    #[must_use]
    pub fn synced(&self, disk: DiskId) -> Option<Seen> {
        lock(&self.synced).of(disk)
    }

    /// Writes raised places of logs at most once a second, until `stop` is cancelled.
    pub async fn write_behind(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.raised.notified() => self.sync().await,
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(WRITE_EVERY) => {}
            }
        }
    }

    /// Writes the records, unless the file has the same records.
    async fn sync(self: &Arc<Self>) {
        let _turn = self.writing.lock().await;
        let records = lock(&self.records).clone();
        if *lock(&self.synced) == records {
            return;
        }
        let this = Arc::clone(self);
        let written = rt::blocking(move || {
            let bytes = records.encode().map_err(|e| e.to_string())?;
            this.file.write(&bytes).map_err(|e| e.to_string())?;
            *lock(&this.synced) = records;
            Ok::<(), String>(())
        });
        if let Err(why) = written.await.unwrap_or_else(|panicked| Err(panicked.to_string())) {
            (self.on_fatal)(&io::Error::other(format!("the starts of peers cannot be written: {why}")));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
