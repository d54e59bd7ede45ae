//! [`Signals`]: SIGTERM and SIGINT end a node.

use crate::{exit::Code, member::lifecycle::End};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The handlers of the two signals.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. The first process of a container has no default action for signals: a signal before
    /// this call is lost, and the kubelet kills the pod at the end of the grace period.
    pub(super) fn install() -> Result<Self, End> {
        let failed = |e: io::Error| End { code: Code::Failed, why: e.to_string() };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
