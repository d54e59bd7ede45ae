//! [`StoppedProcess`]: the node process of a pod, stopped for a while.

use crate::pods::node_process;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a process.
///
/// # Errors
/// When the process does not exist.
fn signal(process: i32, signal: Signal) -> anyhow::Result<()> {
    Ok(kill_process(Pid::from_raw(process).context("no process")?, signal)?)
}

/// The node process of a pod, stopped with SIGSTOP. Dropping the value sends SIGCONT.
#[derive(Debug)]
#[must_use = "the process goes on when the value is dropped"]
pub struct StoppedProcess(i32);

impl StoppedProcess {
    /// Stops the node process of a pod.
    ///
    /// # Errors
    /// When the pod has no process.
    pub fn of(pod: &str) -> anyhow::Result<Self> {
        let process = node_process(pod)?;
        signal(process, Signal::STOP)?;
        Ok(Self(process))
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> i32 {
        self.0
    }
}

impl Drop for StoppedProcess {
    fn drop(&mut self) {
        let _gone = signal(self.0, Signal::CONT);
    }
}
