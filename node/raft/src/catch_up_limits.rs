//! [`CatchUpLimits`]: bounds of a node on the transfers of state between replicas.
//!
//! A transfer needs a permit of the source and a permit of the receiver. Two nodes fetching from each other cannot
//! block each other for ever: a source without a permit refuses at once, a receiver waits for the receiver's permit
//! before the request, and every wait within a transfer has a time limit ([`STEP_MAX`]); both permits are free again
//! after the limit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

/// Maximum number of states sent by a node at the same time. Two suffice for the bandwidth of a node, and each takes a
/// thread and a few mebibytes.
const SOURCES_MAX: usize = 2;
/// Maximum number of catalogues sent by a node at the same time. More than the other voters of the largest system group, so
/// that a catalogue never waits for the states of stores; the threads are still bounded.
const CATALOGUES_MAX: usize = 8;
/// Maximum number of states installed by a node at the same time. Each flushes the whole state database several times.
const INSTALLS_MAX: usize = 2;
/// Time limit of a single chunk, for the source until the receiver has room and for the receiver until the chunk arrives.
/// The largest chunk, an append of 32 MiB, takes 16 s at the smallest allowed rate when two transfers share the rate.
pub const STEP_MAX: Duration = Duration::from_secs(60);
/// Lead over the rate allowed to the bytes sent, as a time, so small states never wait.
const BURST: Duration = Duration::from_millis(50);

/// Permits and rate of the transfers of a node; shared by all replicas of the node.
#[derive(Debug)]
pub struct CatchUpLimits {
    sources: Arc<Semaphore>,
    catalogues: Arc<Semaphore>,
    installs: Arc<Semaphore>,
    bytes_per_second: u64,
    /// True while the disk has room for another state; `None` without a measurement.
    room: Option<watch::Receiver<bool>>,
    /// Time when the bytes sent so far are within the rate.
    paid_until: Mutex<Instant>,
}

impl CatchUpLimits {
    /// Makes the limits of a node sending at most `bytes_per_second`, all transfers together.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Arc<Self> {
        Self::with_room(bytes_per_second, None)
    }

    /// Makes the limits of a node that begins no install while `room` is false.
    #[must_use]
    pub fn with_room(bytes_per_second: u64, room: Option<watch::Receiver<bool>>) -> Arc<Self> {
        Arc::new(Self {
            room,
            sources: Arc::new(Semaphore::new(SOURCES_MAX)),
            catalogues: Arc::new(Semaphore::new(CATALOGUES_MAX)),
            installs: Arc::new(Semaphore::new(INSTALLS_MAX)),
            bytes_per_second: bytes_per_second.max(1),
            paid_until: Mutex::new(Instant::now()),
        })
    }

    /// Takes the permit to send a state, or `None` when this node sends the maximum number of states already.
    #[must_use]
    pub fn try_source(self: &Arc<Self>) -> Option<SourcePermit> {
        self.permit(&self.sources, Some(Arc::clone(self)))
    }

    /// Takes the permit to send the catalogue, or `None` when this node sends the maximum number of catalogues already. The
    /// catalogue is small, and a node without the catalogue cannot serve, so no rate holds the transfer up.
    #[must_use]
    pub fn try_catalogue(self: &Arc<Self>) -> Option<SourcePermit> {
        self.permit(&self.catalogues, None)
    }

    fn permit(&self, of: &Arc<Semaphore>, rate: Option<Arc<Self>>) -> Option<SourcePermit> {
        let permit = Arc::clone(of).try_acquire_owned().ok()?;
        Some(SourcePermit { rate, _permit: permit })
    }

    /// Waits for room on the disk and for the permit to install a state. `None` is never the answer while the node runs.
    pub(super) async fn install(&self) -> Option<OwnedSemaphorePermit> {
        if let Some(room) = &self.room {
            room.clone().wait_for(|room| *room).await.ok()?;
        }
        Arc::clone(&self.installs).acquire_owned().await.ok()
    }

    async fn pace(&self, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let ahead = {
            let now = Instant::now();
            let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            *paid = (*paid).max(now) + cost;
            paid.duration_since(now)
        };
        if ahead > BURST {
            tokio::time::sleep(ahead - BURST).await;
        }
    }
}

/// The permit to send a state, given back when dropped.
#[derive(Debug)]
pub struct SourcePermit {
    /// Limits with the rate of the transfer; `None` for a transfer without a rate.
    rate: Option<Arc<CatchUpLimits>>,
    _permit: OwnedSemaphorePermit,
}

impl SourcePermit {
    /// Waits until `bytes` more are within the rate of the transfer.
    pub async fn pace(&self, bytes: usize) {
        if let Some(limits) = &self.rate {
            limits.pace(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_transfers_together_keep_to_the_rate() {
        tokio::time::pause();
        let limits = CatchUpLimits::new(1 << 20);
        let begun = Instant::now();
        let send = async || {
            for _ in 0..5 {
                limits.pace(1 << 20).await;
            }
        };
        tokio::join!(send(), send());
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(10) - BURST && took <= Duration::from_secs(10), "{took:?}");
        tokio::time::advance(Duration::from_secs(3600)).await;
        let idle = Instant::now();
        limits.pace(1 << 20).await;
        assert!(idle.elapsed() >= Duration::from_secs(1) - BURST, "idle time is not saved up");
        let small = Instant::now();
        CatchUpLimits::new(1 << 20).pace(1 << 10).await;
        assert_eq!(small.elapsed(), Duration::ZERO, "a small state does not wait");
    }

    #[tokio::test]
    async fn a_node_installs_and_sends_a_bounded_number_of_states() {
        let limits = CatchUpLimits::new(1);
        let sources: Vec<_> = (0..SOURCES_MAX).map(|_| limits.try_source().unwrap()).collect();
        assert!(limits.try_source().is_none());
        let catalogues: Vec<_> = (0..CATALOGUES_MAX).map(|_| limits.try_catalogue().unwrap()).collect();
        assert!(limits.try_catalogue().is_none(), "states of stores do not count, but other catalogues do");
        drop((sources, catalogues));
        assert!(limits.try_source().is_some() && limits.try_catalogue().is_some());
        let mut installs = Vec::new();
        for _ in 0..INSTALLS_MAX {
            installs.push(limits.install().await.unwrap());
        }
        let mut next = Box::pin(limits.install());
        assert!(futures::poll!(&mut next).is_pending());
        drop(installs.pop());
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn an_install_waits_for_room_on_the_disk() {
        let (disk, room) = watch::channel(false);
        let limits = CatchUpLimits::with_room(1, Some(room));
        let mut install = Box::pin(limits.install());
        assert!(futures::poll!(&mut install).is_pending());
        disk.send_replace(true);
        assert!(install.await.is_some());
    }
}
