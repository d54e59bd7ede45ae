//! Golden files: recorded bytes on disk, readable by every later version.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

/// Compares `text` with the golden file at `path` below this crate. With `TAFFRAIL_FIX` set, records new lines first. A
/// line in the file is never removed, because existing disks contain its bytes.
pub(crate) fn check(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let recorded = std::fs::read_to_string(&path).unwrap();
    for line in recorded.lines() {
        assert!(text.lines().any(|l| l == line), "{}: recorded bytes are no longer written: {line}", path.display());
    }
    if std::env::var_os("TAFFRAIL_FIX").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        assert_eq!(text, recorded, "{} lacks new lines; run again with TAFFRAIL_FIX=1", path.display());
    }
}
