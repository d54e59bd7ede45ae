//! Exit codes of the process, and the line in the termination log.

use std::{fs::OpenOptions, io::Write};
use taffrail_runtime::TaskEnd;

/// Exit codes of `taffrail serve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// A requested stop.
    Done = 0,
    /// Every other failure.
    Failed = 1,
    /// The configuration has errors.
    Config = 64,
    /// The data directory cannot be used.
    DataDir = 65,
    /// A port cannot be opened.
    Port = 66,
    /// A task of the node ended unexpectedly; the rest of the node cannot go on without the task.
    Task = 70,
    /// A write or sync failed; no later write can be trusted.
    Disk = 74,
    /// The data of this disk was retired; a restart brings the node back under a new node id.
    Retired = 75,
    /// The disk went back to an earlier state; a restart keeps the node fenced.
    Reverted = 76,
}

/// File of the termination message of a container, read by Kubernetes.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Logs a fatal error, and writes the error as a single line to the termination log.
pub fn last_words(code: Code, error: &str) {
    let line = error.replace('\n', "; ");
    tracing::error!(code = code as u8, error = %line, "fatal");
    // Absent outside of Kubernetes, where the log line suffices.
    if let Ok(mut file) = OpenOptions::new().write(true).open(TERMINATION_LOG)
        && let Err(e) = writeln!(file, "{line}")
    {
        tracing::debug!(error = %e, "the termination log could not be written");
    }
}

/// Ends the process at once after a failed write, so that neither disk nor peers see a later write.
pub fn disk_failed(error: &std::io::Error) -> ! {
    last_words(Code::Disk, &format!("a write to disk failed: {error}"));
    std::process::exit(i32::from(Code::Disk as u8));
}

/// Ends the process at once after the unexpected end of a task of the node. A node without one of its tasks would look
/// healthy and not do its work.
pub fn task_died(end: &TaskEnd) -> ! {
    last_words(Code::Task, &format!("the task {} has ended: {}", end.task, end.why));
    std::process::exit(i32::from(Code::Task as u8));
}
