//! [`Watched`]: the state machine of the node with checks. Applied entries, flushes and installed snapshots are compared with
//! the entries and digests of the other replicas.

use crate::{disk::SimLogDisk, lock::lock, planted_defect::PlantedDefect, trace, trace::short, world::World};
use prost::Message;
use std::sync::Arc;
use taffrail_core::ids::{Digest, ReplicaId};
use taffrail_proto::{
    peer::CatchUpChunk,
    storage::{self as pb, entry::Payload},
};
use taffrail_raft::{
    codec,
    machine::{CatchUpPoint, Machine, MachineError},
    types::{Entry, LogId, Reply, StoredMembership},
};
use taffrail_storage::store::store_machine::StoreMachine;
use taffrail_store_api::Applied;

/// The defective replica of [`PlantedDefect::OneAppliesDifferently`], a first member.
const ODD: ReplicaId = ReplicaId::new(2);
/// The defective replica skips commands at multiples of this index.
const PASSED_OVER: u64 = 16;

/// A state machine with reports to [`crate::invariants`].
pub struct Watched {
    inner: StoreMachine,
    replica: ReplicaId,
    world: Arc<World>,
    log_disk: Arc<SimLogDisk>,
    installing: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.installing {
            self.world.count("crashes in a catch-up");
        }
    }
}

impl Watched {
    /// Wraps the state machine of a replica.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn new(
        inner: StoreMachine,
        replica: ReplicaId,
        world: Arc<World>,
        log_disk: Arc<SimLogDisk>,
    ) -> Result<Self, MachineError> {
        let this = Self { inner, replica, world, log_disk, installing: false };
        this.note_persisted()?;
        this.note_digest();
        Ok(this)
    }

    fn note_persisted(&self) -> Result<(), MachineError> {
        let (last, _) = self.inner.persisted()?;
        let next = last.map_or(0, |l| l.index + 1);
        trace!(self.world, "persisted r{} before {next}", self.replica);
        lock(&self.world.invariants).persisted(self.replica, next);
        Ok(())
    }

    fn note_digest(&self) {
        let (Some(last), _) = self.inner.applied() else { return };
        let digest = self.inner.digest();
        trace!(self.world, "state r{} {last} digest {:08x}", self.replica, short(&digest.0));
        let same = lock(&self.world.invariants).digest(self.replica, last.index, digest);
        self.world.require(same);
    }

    /// The entries as the defective replica applies them; `None` for every other replica.
    fn planted(&self, entries: &[Entry]) -> Result<Option<Vec<Entry>>, MachineError> {
        if self.world.options.plant != Some(PlantedDefect::OneAppliesDifferently) || self.replica != ODD {
            return Ok(None);
        }
        let other = |entry: &Entry| {
            let mut wire = codec::entry_to(entry);
            if entry.log_id.index.is_multiple_of(PASSED_OVER) && matches!(wire.payload, Some(Payload::Command(_))) {
                wire.payload = Some(Payload::Blank(pb::Blank {}));
            }
            codec::entry_from(wire)
        };
        entries.iter().map(other).collect::<Result<_, _>>().map(Some).map_err(|e| MachineError::Corrupt(e.to_string()))
    }

    fn note_entry(&self, entry: &Entry, reply: &Reply) {
        let content = short(&codec::entry_to(entry).encode_to_vec());
        trace!(self.world, "apply r{} {} {content:08x}", self.replica, entry.log_id);
        let mut invariants = lock(&self.world.invariants);
        let same = invariants.applied(self.replica, entry.log_id, content);
        if let Reply::Appends(outcomes) = reply {
            for appended in outcomes.iter().flatten().filter(|a| !a.repeated) {
                invariants.placed(appended.last_position, entry.log_id);
            }
        }
        drop(invariants);
        self.world.require(same);
    }
}

impl Machine for Watched {
    fn applied(&self) -> (Option<LogId>, StoredMembership) {
        self.inner.applied()
    }

    fn persisted(&self) -> Result<(Option<LogId>, StoredMembership), MachineError> {
        self.inner.persisted()
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Reply>, MachineError> {
        let replies = match self.planted(entries)? {
            Some(others) => self.inner.apply(&others)?,
            None => self.inner.apply(entries)?,
        };
        for (entry, reply) in entries.iter().zip(&replies) {
            self.note_entry(entry, reply);
        }
        self.note_digest();
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        self.inner.flush()?;
        self.note_persisted()
    }

    fn progress(&self) -> Applied {
        self.inner.progress()
    }

    fn digest(&self) -> Digest {
        self.inner.digest()
    }

    fn catch_up_point(&self) -> CatchUpPoint {
        self.inner.catch_up_point()
    }

    fn must_refill(&self) -> bool {
        self.inner.must_refill()
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        trace!(self.world, "install r{} begins at {:?}", self.replica, self.inner.catch_up_point().next_position);
        self.world.count("catch-ups begun");
        self.inner.begin_install()?;
        self.installing = true;
        self.note_persisted()
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        trace!(self.world, "install r{} family {} rows {}", self.replica, chunk.family, chunk.rows.len());
        self.inner.install(chunk)?;
        self.log_disk.wish_crash(40);
        self.note_persisted()
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        self.inner.finish_install()?;
        self.installing = false;
        self.world.count("catch-ups");
        self.note_persisted()?;
        self.note_digest();
        Ok(())
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        trace!(self.world, "install r{} ends early", self.replica);
        self.world.count("catch-ups cut short");
        self.inner.abort_install()?;
        self.installing = false;
        self.note_persisted()
    }
}
