//! [`Floor`]: the end of the synced part of a node's log, in a separate file.
//!
//! A log database ending below the floor has lost synced writes. RocksDB does not tell: the recovery drops a damaged
//! record of the write-ahead log and every later record, and opens with a shorter history.
//!
//! - The file has two slots of 4 KiB, each with a checksum. Writes alternate between the slots, so a torn write leaves
//!   the earlier floor.
//! - The floor is written after the sync of the log and never before, so the floor is never ahead of the log.
//! - The floor is written by a separate thread, at most every 100 ms: appends do not wait. Damage to writes of the last
//!   100 ms before a crash is not noticed.
//! - A floor is a segment and a batch in the segment. A log without segments uses segment 0.

use super::rocksdb_log::{OnFatal, or_fatal};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use taffrail_runtime as rt;

/// Name of the file, in the directory of the log. The file moves with the log when a disk is retired.
const FILE: &str = "FLOOR";
/// Name of the file until the file is complete.
const NEW_FILE: &str = "FLOOR.new";
const MAGIC: [u8; 4] = *b"TFLR";
const FORMAT: u32 = 1;
/// Distance of the slots: a write to a slot touches no sector of the other.
const SLOT_BYTES: usize = 4096;
/// Encoded size of a slot's content.
const CONTENT_BYTES: usize = 36;
/// Shortest time between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// Place in a log; places are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Floor {
    /// Number of the segment; 0 in a log without segments.
    pub segment: u64,
    /// Number of the last synced batch or write.
    pub batch: u64,
}

/// Damage found with the floor of a log. The disk must not serve, because acknowledged writes may be lost.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The log ends before the floor: synced writes are lost.
    #[error(
        "the log ends at segment {}, write {}, but was synced up to segment {}, write {}: synced writes are lost, \
         and this disk must be replaced",
        .end.segment, .end.batch, .floor.segment, .floor.batch
    )]
    Below {
        /// Last write in the log.
        end: Floor,
        /// Last write known to be synced.
        floor: Floor,
    },
    /// No slot of the file is valid.
    #[error("the floor of the log, {path}: no slot has a valid checksum; this disk must be replaced")]
    Unreadable {
        /// Path of the file.
        path: String,
    },
    /// The file comes from a later version.
    #[error("the floor of the log, {path}: format {format} is not known to this version")]
    Format {
        /// Path of the file.
        path: String,
        /// Format number in the file.
        format: u32,
    },
}

impl From<FloorError> for io::Error {
    fn from(e: FloorError) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}

/// Content of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Number of the write; the valid slot with the highest number counts.
    number: u64,
    floor: Floor,
}

/// Encodes a slot: magic, format, number, segment, batch (integers big-endian), and CRC-32C of all before.
fn encode(slot: &Slot) -> [u8; CONTENT_BYTES] {
    let mut out = [0; CONTENT_BYTES];
    out[..4].copy_from_slice(&MAGIC);
    out[4..8].copy_from_slice(&FORMAT.to_be_bytes());
    out[8..16].copy_from_slice(&slot.number.to_be_bytes());
    out[16..24].copy_from_slice(&slot.floor.segment.to_be_bytes());
    out[24..32].copy_from_slice(&slot.floor.batch.to_be_bytes());
    let checksum = crc32c::crc32c(&out[..32]);
    out[32..].copy_from_slice(&checksum.to_be_bytes());
    out
}

/// Decodes a slot; `None` for a slot never written, torn or damaged.
fn decode(content: &[u8; CONTENT_BYTES]) -> Option<(u32, Slot)> {
    let u32_at = |at: usize| content.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let u64_at = |at: usize| content.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    if content[..4] != MAGIC || u32_at(32)? != crc32c::crc32c(&content[..32]) {
        return None;
    }
    let floor = Floor { segment: u64_at(16)?, batch: u64_at(24)? };
    Some((u32_at(4)?, Slot { number: u64_at(8)?, floor }))
}

/// The file of a floor, with the slot written last.
pub(super) struct FloorFile {
    file: File,
    last: Slot,
}

impl FloorFile {
    /// Opens the file in the directory of the log, or creates the file with the lowest floor.
    ///
    /// # Errors
    /// When the disk fails, or with a [`FloorError`] when no slot is valid or a slot has an unknown format.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        match File::options().read(true).write(true).open(&path) {
            Ok(file) => Ok(Self { last: read(&file, &path)?, file }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(dir, &path),
            Err(e) => Err(e),
        }
    }

    pub(super) fn floor(&self) -> Floor {
        self.last.floor
    }

    /// Writes and syncs a floor into the slot not written last.
    fn write(&mut self, floor: Floor) -> io::Result<()> {
        let slot = Slot { number: self.last.number + 1, floor };
        let at = if slot.number.is_multiple_of(2) { 0 } else { SLOT_BYTES as u64 };
        self.file.write_all_at(&encode(&slot), at)?;
        self.file.sync_data()?;
        self.last = slot;
        Ok(())
    }
}

fn read(file: &File, path: &Path) -> io::Result<Slot> {
    let mut last: Option<Slot> = None;
    for at in [0, SLOT_BYTES as u64] {
        let mut content = [0; CONTENT_BYTES];
        match file.read_exact_at(&mut content, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(e) => return Err(e),
        }
        match decode(&content) {
            Some((FORMAT, slot)) => last = last.filter(|l| l.number > slot.number).or(Some(slot)),
            Some((format, _)) => return Err(FloorError::Format { path: path.display().to_string(), format }.into()),
            None => {}
        }
    }
    last.ok_or_else(|| FloorError::Unreadable { path: path.display().to_string() }.into())
}

/// Creates the file with all bytes under another name first, so a crash leaves a complete file or none.
fn create(dir: &Path, path: &Path) -> io::Result<FloorFile> {
    let new = dir.join(NEW_FILE);
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
    let last = Slot::default();
    let mut content = [0; 2 * SLOT_BYTES];
    content[..CONTENT_BYTES].copy_from_slice(&encode(&last));
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    Ok(FloorFile { file, last })
}

#[derive(Debug)]
struct Wanted {
    floor: Floor,
    ends: bool,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Raises the floor behind the log, with a separate thread. The last floor is written when the value is dropped.
pub(super) struct FloorWriter {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FloorWriter {
    /// Starts the thread; `end` is the synced end of the log.
    ///
    /// # Errors
    /// When the operating system refuses the thread.
    pub(super) fn start(file: FloorFile, end: Floor, on_fatal: OnFatal) -> io::Result<Self> {
        let wanted = Mutex::new(Wanted { floor: end, ends: false });
        let shared = Arc::new(Shared { wanted, changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let died = Arc::clone(&on_fatal);
        let work = move || write_loop(file, &of_thread, &on_fatal);
        let thread = rt::thread("log-floor", or_fatal("the writer of the log's floor", &died, work))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Raises the floor to a synced place. Returns at once.
    pub(super) fn raise(&self, to: Floor) {
        self.shared.lock().floor = to;
        self.shared.changed.notify_all();
    }
}

impl Drop for FloorWriter {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was reported as a failed write.
            drop(thread.join());
        }
    }
}

fn write_loop(mut file: FloorFile, shared: &Shared, on_fatal: &OnFatal) {
    loop {
        let mut wanted = shared.lock();
        while wanted.floor <= file.floor() && !wanted.ends {
            wanted = shared.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        let (floor, ends) = (wanted.floor, wanted.ends);
        drop(wanted);
        if floor > file.floor()
            && let Err(e) = file.write(floor)
        {
            return on_fatal(&io::Error::new(e.kind(), format!("the floor of the log cannot be written: {e}")));
        }
        if ends {
            return;
        }
        let paused = shared.changed.wait_timeout_while(shared.lock(), WRITE_EVERY, |wanted| !wanted.ends);
        drop(paused);
    }
}

#[cfg(test)]
mod tests;
