//! [`DiskSpace`]: measures the disk of a node periodically.

use super::{
    MeasureSpace, Space,
    marks::{Level, MarkSettings, Marks},
};
use std::{io, sync::Arc, time::Duration};
use taffrail_runtime as rt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Interval between two measurements. At 500 MB/s, writes take a quarter of the reserve in this time.
const EVERY: Duration = Duration::from_millis(500);

/// The last measurement of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskState {
    /// Size and free bytes.
    pub space: Space,
    /// Level of the free bytes.
    pub level: Level,
    /// The soft mark, in bytes.
    pub soft_bytes: u64,
}

impl DiskState {
    /// Returns size and free bytes; `None` before the first measurement.
    #[must_use]
    pub fn measured(self) -> Option<Space> {
        Some(self.space).filter(|space| space.total_bytes > 0)
    }
}

/// The room on the disk of a node, shared by all parts of the node.
pub struct DiskSpace {
    meter: Arc<dyn MeasureSpace>,
    settings: MarkSettings,
    state: watch::Sender<DiskState>,
    /// True while the disk has room for a catch-up.
    room: watch::Sender<bool>,
}

impl DiskSpace {
    /// Measures the disk once. [`follow`](Self::follow) measures again and again.
    #[must_use]
    pub fn new(meter: Arc<dyn MeasureSpace>, settings: MarkSettings) -> Arc<Self> {
        let this =
            Self { meter, settings, state: watch::channel(DiskState::default()).0, room: watch::channel(true).0 };
        this.take(this.meter.space());
        Arc::new(this)
    }

    /// Returns the last measurement.
    #[must_use]
    pub fn now(&self) -> DiskState {
        *self.state.borrow()
    }

    /// Returns a receiver, true while the disk has room for a catch-up.
    #[must_use]
    pub fn room(&self) -> watch::Receiver<bool> {
        self.room.subscribe()
    }

    /// Measures the disk until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let meter = Arc::clone(&self.meter);
            // An error means a stopping node.
            let Ok(measured) = rt::blocking(move || meter.space()).await else { return };
            self.take(measured);
        }
    }

    /// Takes over a measurement. After a failed measurement the last level stays in force.
    fn take(&self, measured: io::Result<Space>) {
        let space = match measured {
            Ok(space) => space,
            Err(error) => return tracing::warn!(%error, "the free space of the data directory could not be measured"),
        };
        let marks = Marks::of(space.total_bytes, self.settings);
        let before = self.now().level;
        let level = marks.level(before, space);
        self.state.send_replace(DiskState { space, level, soft_bytes: marks.soft_bytes });
        self.room.send_if_modified(|room| std::mem::replace(room, level == Level::Enough) != (level == Level::Enough));
        if level != before {
            say(level, space, marks);
        }
    }
}

fn say(level: Level, Space { total_bytes, free_bytes }: Space, Marks { soft_bytes, hard_bytes }: Marks) {
    match level {
        Level::Enough => tracing::info!(free_bytes, soft_bytes, "the disk has room again: appends are accepted"),
        Level::Low => tracing::warn!(
            total_bytes,
            free_bytes,
            soft_bytes,
            "the disk is nearly full: this node refuses appends as leader until more is free"
        ),
        Level::Full => tracing::error!(
            total_bytes,
            free_bytes,
            hard_bytes,
            "the disk is nearly full: this node refuses the entries of all leaders until more is free"
        ),
    }
}
