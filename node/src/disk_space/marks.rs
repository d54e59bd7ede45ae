//! [`Marks`]: the two marks of a disk, and the [`Level`] of the free bytes.

use super::Space;

/// Upper bound of the reserve for a flush of the memory of the state database.
const FLUSH_BYTES_MAX: u64 = 512 << 20;
/// Upper bound of the reserve for a segment of the log; two are reserved.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;
/// Upper bound of the reserve for a compaction: new files are written before the old files go.
const COMPACTION_BYTES_MAX: u64 = 256 << 20;

/// The room on a disk, from much to little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// More than the soft mark is free.
    #[default]
    Enough,
    /// Less than the soft mark is free: the node leads no appends and begins no catch-up.
    Low,
    /// Less than the hard mark is free: the node also takes no entries from leaders.
    Full,
}

/// The marks in the configuration; `None` derives a mark from the size of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkSettings {
    /// The soft mark, in bytes.
    pub soft_bytes: Option<u64>,
    /// The hard mark, in bytes.
    pub hard_bytes: Option<u64>,
}

/// The marks of a disk, in free bytes; the soft mark is the higher mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Below this mark, appends are refused.
    pub soft_bytes: u64,
    /// Below this mark, entries of leaders are refused.
    pub hard_bytes: u64,
}

/// Returns the bytes needed for a flush, for the log and for a compaction: a sixteenth, two sixty-fourths and a
/// thirty-second of the disk, each with an upper bound. At most 1 GiB, from a disk of 8 GiB on.
fn reserve(total_bytes: u64) -> u64 {
    FLUSH_BYTES_MAX.min(total_bytes / 16)
        + 2 * SEGMENT_BYTES_MAX.min(total_bytes / 64)
        + COMPACTION_BYTES_MAX.min(total_bytes / 32)
}

impl Marks {
    /// Returns the marks of a disk of this size. Without settings the soft mark is the reserve and the hard mark half of
    /// the soft mark.
    #[must_use]
    pub fn of(total_bytes: u64, settings: MarkSettings) -> Self {
        let above_hard = settings.hard_bytes.unwrap_or_default().saturating_mul(2);
        let soft_bytes = settings.soft_bytes.unwrap_or_else(|| reserve(total_bytes).max(above_hard));
        Self { soft_bytes, hard_bytes: settings.hard_bytes.unwrap_or(soft_bytes / 2) }
    }

    /// Returns the level of a disk with so much room, after the level `before`. A level is left only once an eighth of the
    /// mark more is free: otherwise the level would change with each file of a compaction.
    #[must_use]
    pub fn level(self, before: Level, space: Space) -> Level {
        let below = |mark: u64, inside: bool| space.free_bytes < if inside { mark + mark / 8 } else { mark };
        if below(self.hard_bytes, before == Level::Full) {
            Level::Full
        } else if below(self.soft_bytes, before >= Level::Low) {
            Level::Low
        } else {
            Level::Enough
        }
    }
}
