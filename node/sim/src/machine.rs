//! [`Watched`]: the state machine of the node with checks. Applied entries, flushes and installed snapshots are compared with
//! the entries and digests of the other replicas.

use crate::{
    disk::SimLogDisk, invariants::MembershipChange, lock::lock, planted_defect::PlantedDefect, trace, trace::short,
    world::World,
};
use prost::Message;
use std::sync::Arc;
use taffrail_core::{
    ids::{Digest, GroupId},
    plan::Lineage,
};
use taffrail_proto::{
    peer::CatchUpChunk,
    storage::{self as pb, entry::Payload as WirePayload},
};
use taffrail_raft::{
    codec,
    log::LogKey,
    machine::{CatchUpPoint, Machine, MachineError},
    types::{Entry, LogId, Payload, Reply, StoredMembership},
};
use taffrail_store_api::Applied;
use tokio::time::Instant;

/// The group with the defective replica of [`PlantedDefect::OneAppliesDifferently`], which has three voters.
const ODD_GROUP: GroupId = GroupId::new(2);
/// The defective replica skips commands at multiples of this index.
const PASSED_OVER: u64 = 16;
/// Crashes per thousand durable changes of a state.
const STEP_PERMILLE: u64 = 10;
/// Installs per thousand whose replica gets no entries for a while.
const STALLED_PERMILLE: u64 = 700;

/// A state machine with reports to [`crate::invariants`].
pub struct Watched {
    inner: Box<dyn Machine>,
    key: LogKey,
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
    /// Wraps the state machine of a replica. A machine whose flushed state cannot be read fails the run.
    #[must_use]
    pub fn new(inner: Box<dyn Machine>, key: LogKey, world: Arc<World>, log_disk: Arc<SimLogDisk>) -> Self {
        let this = Self { inner, key, world, log_disk, installing: false };
        if let Err(e) = this.note_persisted() {
            this.world.fail(format!("r{}: the flushed state cannot be read: {e}", key.replica));
        }
        this.note_digest();
        this
    }

    fn note_persisted(&self) -> Result<(), MachineError> {
        let (last, _) = self.inner.persisted()?;
        let next = last.map_or(0, |l| l.index + 1);
        trace!(self.world, "persisted r{} before {next}", self.key.replica);
        lock(&self.world.invariants).persisted(self.key.replica, next);
        Ok(())
    }

    /// Sometimes keeps the following entries away from a replica that has installed a state: the state is then newer than the
    /// log for a while.
    fn stall(&self) {
        if !self.world.is_calm() && self.key.group != GroupId::SYSTEM && self.world.chance(STALLED_PERMILLE) {
            self.world.count("appends stalled after an install");
            let until = Instant::now() + self.world.random_ms(1000, 2500);
            self.world.network.stall(self.key.group, self.log_disk.node(), until);
        }
    }

    fn check_install(&self) {
        if let Some(checks) = self.world.replica_checks() {
            (checks.installing)(self.key, self.log_disk.node());
        }
    }

    /// Fails a write to the state while the writes to the disk fail.
    fn write_error(&self) -> Result<(), MachineError> {
        if self.log_disk.is_cut() {
            return Err(MachineError::Storage("the power is cut".into()));
        }
        let Some(error) = self.log_disk.faults.write_error() else { return Ok(()) };
        self.world.count("failed writes of a state");
        Err(MachineError::Storage(error.to_string()))
    }

    fn note_digest(&self) {
        let (Some(last), _) = self.inner.applied() else { return };
        if self.world.diverged.contains(self.key) {
            return;
        }
        let digest = self.inner.digest();
        trace!(self.world, "state r{} {last} digest {:08x}", self.key.replica, short(&digest.0));
        let same = lock(&self.world.invariants).digest(self.key, last.index, digest);
        self.world.require(same);
    }

    fn is_odd(&self) -> bool {
        // The first replicas of a group have consecutive ids.
        self.key.group == ODD_GROUP && self.key.replica.get().is_multiple_of(3)
    }

    /// The entries in the form applied by the defective replica; `None` for every other replica.
    fn planted(&self, entries: &[Entry]) -> Result<Option<Vec<Entry>>, MachineError> {
        if self.world.diverged.is_wanted(self.key) {
            return Ok(self.diverge(entries));
        }
        if self.world.options.plant != Some(PlantedDefect::OneAppliesDifferently) || !self.is_odd() {
            return Ok(None);
        }
        let other = |entry: &Entry| {
            let mut wire = codec::entry_to(entry);
            if entry.log_id.index.is_multiple_of(PASSED_OVER) && matches!(wire.payload, Some(WirePayload::Command(_))) {
                wire.payload = Some(WirePayload::Blank(pb::Blank {}));
            }
            codec::entry_from(wire)
        };
        entries.iter().map(other).collect::<Result<_, _>>().map(Some).map_err(|e| MachineError::Corrupt(e.to_string()))
    }

    /// The entries without their first command, for a replica that is to diverge.
    fn diverge(&self, entries: &[Entry]) -> Option<Vec<Entry>> {
        // Without an applied command there is no digest, and the difference shows only after the next command.
        if self.inner.digest() == Digest::default() {
            return None;
        }
        let skipped = entries.iter().position(|entry| matches!(entry.payload, Payload::Normal(_)))?;
        trace!(self.world, "r{} of group {} diverges", self.key.replica, self.key.group);
        self.world.count("diverged replicas");
        self.world.diverged.begin(self.key, self.log_disk.node());
        let mut others = entries.to_vec();
        if let Some(entry) = others.get_mut(skipped) {
            entry.payload = Payload::Blank;
        }
        Some(others)
    }

    fn note_entry(&self, entry: &Entry, reply: &Reply) {
        let content = short(&codec::entry_to(entry).encode_to_vec());
        trace!(self.world, "apply r{} {} {content:08x}", self.key.replica, entry.log_id);
        let mut invariants = lock(&self.world.invariants);
        let same = invariants.applied(self.key, entry.log_id, content);
        if let Reply::Appends(outcomes) = reply
            && !self.world.diverged.contains(self.key)
        {
            for appended in outcomes.iter().flatten().filter(|a| !a.repeated) {
                invariants.placed(self.key.group, appended.last_position, entry.log_id);
            }
        }
        let change = match &entry.payload {
            Payload::Membership(membership) => {
                invariants.membership(self.key.group, entry.log_id, membership.get_joint_config().clone())
            }
            Payload::Blank | Payload::Normal(_) => MembershipChange::default(),
        };
        drop(invariants);
        if change.ended_by_another_leader {
            self.world.count("joint changes ended by another leader");
        }
        if change.is_move {
            self.world.count("moves");
        }
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
        self.write_error()?;
        let replies = match self.planted(entries)? {
            Some(others) => {
                let replies = self.inner.apply(&others)?;
                if self.world.diverged.contains(self.key) {
                    // Otherwise a crash would end the divergence.
                    self.inner.flush()?;
                    self.note_persisted()?;
                }
                replies
            }
            None => self.inner.apply(entries)?,
        };
        for (entry, reply) in entries.iter().zip(&replies) {
            self.note_entry(entry, reply);
        }
        self.note_digest();
        Ok(replies)
    }

    fn flush(&mut self) -> Result<(), MachineError> {
        self.write_error()?;
        self.inner.flush()?;
        // Between the flush and the purge of the log.
        self.log_disk.wish_crash(20);
        self.note_persisted()?;
        self.log_disk.durable_step(STEP_PERMILLE);
        Ok(())
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

    fn copied_from(&self) -> Option<Lineage> {
        self.inner.copied_from()
    }

    fn must_refill(&self) -> bool {
        self.inner.must_refill()
    }

    fn begin_install(&mut self) -> Result<(), MachineError> {
        trace!(self.world, "install r{} begins at {:?}", self.key.replica, self.inner.catch_up_point().next_position);
        self.world.count("catch-ups begun");
        self.inner.begin_install()?;
        self.installing = true;
        self.check_install();
        self.note_persisted()?;
        self.log_disk.durable_step(STEP_PERMILLE);
        Ok(())
    }

    fn install(&mut self, chunk: CatchUpChunk) -> Result<(), MachineError> {
        trace!(self.world, "install r{} family {} rows {}", self.key.replica, chunk.family, chunk.rows.len());
        let over = chunk.from_position == 1 && self.inner.catch_up_point().next_position > 1;
        self.inner.install(chunk)?;
        if over && self.inner.must_refill() {
            self.world.count("start-overs");
        }
        self.log_disk.wish_crash(40);
        self.note_persisted()
    }

    fn finish_install(&mut self) -> Result<(), MachineError> {
        self.inner.finish_install()?;
        self.installing = false;
        self.world.count("catch-ups");
        let source = self.inner.copied_from().map(|lineage| lineage.source);
        self.world.diverged.copied(self.key, self.log_disk.node(), source);
        self.note_persisted()?;
        self.note_digest();
        self.stall();
        self.log_disk.durable_step(STEP_PERMILLE);
        Ok(())
    }

    fn abort_install(&mut self) -> Result<(), MachineError> {
        trace!(self.world, "install r{} ends early", self.key.replica);
        self.world.count("catch-ups cut short");
        self.inner.abort_install()?;
        self.installing = false;
        self.note_persisted()
    }
}
