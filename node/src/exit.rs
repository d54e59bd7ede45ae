//! How the process ends, and the one line it leaves behind.

use std::{fs::OpenOptions, io::Write};

/// Exit codes of `taffrail serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Stopped as told.
    Done = 0,
    /// None of the below.
    Failed = 1,
    /// The configuration has problems.
    Config = 64,
    /// The data directory cannot be used.
    DataDir = 65,
    /// A port cannot be opened.
    Port = 66,
    /// A write or sync failed: nothing after it may be trusted.
    Disk = 74,
    /// Restart me: this disk's data was retired and the node comes back as a new one.
    Retired = 75,
}

/// Where Kubernetes looks for the last words of a container.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Logs a fatal error and leaves it as one line where Kubernetes shows it.
pub fn last_words(code: Code, error: &str) {
    let line = error.replace('\n', "; ");
    tracing::error!(code = code as u8, error = %line, "fatal");
    // Absent outside of Kubernetes; then the log line has to do.
    if let Ok(mut file) = OpenOptions::new().write(true).open(TERMINATION_LOG)
        && let Err(e) = writeln!(file, "{line}")
    {
        tracing::debug!(error = %e, "the termination log could not be written");
    }
}

/// Ends the process at once: the disk failed, and neither buffers nor peers may see anything more.
pub fn disk_failed(error: &std::io::Error) -> ! {
    last_words(Code::Disk, &format!("a write to disk failed: {error}"));
    std::process::exit(i32::from(Code::Disk as u8));
}
