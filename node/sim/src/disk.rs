//! [`SimLogDisk`]: the log disk of a node. Writes wait in a queue until a sync of random duration. A crash keeps a random
//! prefix of the queue; synced writes always survive a crash.

use crate::{
    disk_faults::DiskFaults, invariants::Voters, lock::lock, log_damage::LogDamage, planted_defect::PlantedDefect,
    trace, trace::short, world::World,
};
use bytes::Bytes;
use prost::Message;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_proto::storage as pb;
use taffrail_raft::{
    codec,
    log::{self, Done, EntryInfo, LogDisk, LogKey, LogOp, Recovered, ReplicaState, Tombstone, floor::Floor},
    types::{LogId, Payload, Vote},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// Capacity of the queue of writes.
const QUEUE_MAX: usize = 256;
/// Writes of a membership per thousand that stall the group.
const STALLED_PERMILLE: u64 = 150;

/// Synced log of a replica.
#[derive(Clone, Default)]
struct Log {
    state: Option<ReplicaState>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Bytes>,
}

impl Log {
    fn carry_out(&mut self, op: &LogOp) {
        match op {
            LogOp::Created(partition) => self.state = Some(ReplicaState::Live(*partition)),
            LogOp::Vote(vote) => self.vote = Some(*vote),
            LogOp::Append(entries) => self.entries.extend(entries.iter().cloned()),
            LogOp::Truncate(from) => drop(self.entries.split_off(from)),
            LogOp::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
            LogOp::Fenced(mark) => self.state = Some(ReplicaState::Fenced(*mark)),
            LogOp::Deleted(tombstone) => {
                *self = Self { state: Some(ReplicaState::Deleted(*tombstone)), ..Self::default() }
            }
        }
    }
}

/// Synced logs of a disk at a moment.
pub struct LogCopy {
    logs: BTreeMap<LogKey, Log>,
    synced: u64,
}

impl LogCopy {
    /// Place of the last write in the copy.
    #[must_use]
    pub fn floor(&self) -> Floor {
        Floor { segment: 0, batch: self.synced }
    }
}

struct Queued {
    key: LogKey,
    op: LogOp,
    done: Option<Done>,
}

/// The synced logs, which survive a crash, and the queue of unsynced writes.
pub struct SimLogDisk {
    node: NodeId,
    world: Arc<World>,
    logs: Mutex<BTreeMap<LogKey, Log>>,
    /// Number of synced writes.
    synced: AtomicU64,
    /// Number of disks before, which were retired or lost.
    number: AtomicU64,
    /// True between a cut of the power and the next start: nothing is written.
    cut: AtomicBool,
    queue: Mutex<VecDeque<Queued>>,
    queued: Notify,
    room: Notify,
    slow_until: Mutex<Instant>,
    crash_now: mpsc::Sender<NodeId>,
    /// Failing writes of the disk.
    pub faults: DiskFaults,
    /// Damaged entries and failing reads.
    pub damage: LogDamage,
}

impl SimLogDisk {
    /// An empty disk. Sends the node to `crash_now` at moments when a crash is most likely to find a defect.
    #[must_use]
    pub fn new(world: Arc<World>, node: NodeId, crash_now: mpsc::Sender<NodeId>) -> Arc<Self> {
        Arc::new(Self {
            node,
            world,
            logs: Mutex::default(),
            synced: AtomicU64::new(0),
            number: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            queue: Mutex::default(),
            queued: Notify::new(),
            room: Notify::new(),
            slow_until: Mutex::new(Instant::now()),
            crash_now,
            faults: DiskFaults::default(),
            damage: LogDamage::default(),
        })
    }

    /// The host of the disk.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Makes syncs slow until this time.
    pub fn slow_until(&self, until: Instant) {
        *lock(&self.slow_until) = until;
    }

    /// Logs of the replicas created on this disk and not removed, fenced replicas included.
    #[must_use]
    pub fn kept_logs(&self) -> Vec<LogKey> {
        let logs = lock(&self.logs);
        let kept = |log: &Log| matches!(log.state, Some(ReplicaState::Live(_) | ReplicaState::Fenced(_)));
        logs.iter().filter(|(_, log)| kept(log)).map(|(key, _)| *key).collect()
    }

    /// Moves all logs away, as the retirement of a disk does. Later starts find an empty disk.
    pub fn set_aside(&self) {
        trace!(self.world, "n{} sets its log aside", self.node);
        lock(&self.queue).clear();
        lock(&self.logs).clear();
        self.synced.store(0, Ordering::Relaxed);
        self.number.fetch_add(1, Ordering::Relaxed);
        self.replaced();
    }

    /// Records a replacement of the disk's content.
    fn replaced(&self) {
        self.damage.clear();
        self.world.diverged.end_on(self.node);
    }

    /// Copies the synced logs.
    #[must_use]
    pub fn copy(&self) -> LogCopy {
        LogCopy { logs: lock(&self.logs).clone(), synced: self.synced.load(Ordering::Relaxed) }
    }

    /// Replaces the logs by an earlier copy. The node must not run.
    pub fn restore(&self, copy: LogCopy) {
        lock(&self.queue).clear();
        *lock(&self.logs) = copy.logs;
        self.synced.store(copy.synced, Ordering::Relaxed);
        self.replaced();
    }

    /// True when the entry would survive a crash of all nodes, or was purged.
    #[must_use]
    pub fn has(&self, replica: ReplicaId, id: LogId) -> bool {
        lock(&self.logs).iter().filter(|(key, _)| key.replica == replica).any(|(_, log)| {
            log.purged.is_some_and(|p| p.index >= id.index) || log.entries.get(&id.index).and_then(id_of) == Some(id)
        })
    }

    /// The memberships in the synced logs of a group on this disk, with their log ids.
    #[must_use]
    pub fn memberships(&self, group: GroupId) -> Vec<(LogId, Voters)> {
        let logs = lock(&self.logs);
        let of_group = logs.iter().filter(|(key, _)| key.group == group);
        of_group.flat_map(|(_, log)| log.entries.values()).filter_map(membership_of).collect()
    }

    /// Cuts the power: a random part of the unsynced writes is lost.
    pub fn crash(&self) {
        let queue = std::mem::take(&mut *lock(&self.queue));
        let kept = usize::try_from(self.world.below(queue.len() as u64 + 1)).unwrap_or(0);
        let reordered = self.world.options.plant == Some(PlantedDefect::ReorderedWrites);
        let skipped = if reordered { overtaken(&queue) } else { None };
        let kept = if skipped.is_some() { queue.len() } else { kept };
        let kept = if self.is_cut() { 0 } else { kept };
        trace!(self.world, "n{} loses {} of {} writes", self.node, queue.len() - kept, queue.len());
        if queue.len() > kept {
            self.world.count("unsynced writes lost");
        }
        for (n, queued) in queue.iter().take(kept).enumerate() {
            if Some(n) != skipped {
                self.carry_out(queued.key, &queued.op);
            }
        }
    }

    fn carry_out(&self, key: LogKey, op: &LogOp) {
        if let LogOp::Purge(upto) = op {
            let next = lock(&self.world.invariants).persisted_next(key.replica);
            if upto.index >= next {
                let why = format!("r{} purged up to {upto}, but the state would restart at {next}", key.replica);
                self.world.fail(why);
            }
        }
        if let LogOp::Created(_) = op {
            let first = lock(&self.world.invariants).created(key, self.node, self.number.load(Ordering::Relaxed));
            self.world.require(first);
        }
        if let LogOp::Deleted(Tombstone { cleared: false, .. }) = op
            && let Some(checks) = self.world.replica_checks()
        {
            (checks.removed)(key, self.node);
        }
        if let LogOp::Truncate(from) = op
            && lock(&self.logs).get(&key).is_some_and(|log| log.entries.range(from..).next().is_some())
        {
            self.world.count("truncations");
        }
        if let LogOp::Vote(vote) = op {
            lock(&self.world.invariants).voted(key.replica, *vote);
        }
        if let LogOp::Deleted(_) = op {
            self.world.diverged.end(key);
        }
        if let LogOp::Fenced(_) = op {
            self.world.count("fenced replicas");
        }
        if self.damage.carried_out(key, op) {
            self.world.count("damaged logs replaced");
        }
        lock(&self.logs).entry(key).or_default().carry_out(op);
        self.synced.fetch_add(1, Ordering::Relaxed);
    }

    /// Applies queued writes while the node runs.
    pub async fn write(self: Arc<Self>) {
        loop {
            if self.is_cut() {
                return std::future::pending().await;
            }
            let waiting = lock(&self.queue).len();
            if waiting == 0 {
                self.queued.notified().await;
                continue;
            }
            let slow = *lock(&self.slow_until) > Instant::now();
            match (slow, self.world.chance(20)) {
                (true, _) => self.world.pause(100, 700).await,
                (false, true) => self.world.pause(10, 80).await,
                (false, false) => self.world.pause(0, 3).await,
            }
            let batch: Vec<Queued> = lock(&self.queue).drain(..waiting).collect();
            self.room.notify_waiters();
            if let Some(error) = self.faults.write_error() {
                self.fail(batch, &error);
                continue;
            }
            if self.sync(&batch) {
                continue;
            }
            for done in batch.into_iter().filter_map(|q| q.done) {
                done(Ok(()));
            }
        }
    }

    /// Carries out a batch. Returns true after a cut of the power between two writes: the rest of the batch is lost, and nobody
    /// learns of the writes before.
    fn sync(&self, batch: &[Queued]) -> bool {
        batch.iter().any(|queued| {
            trace!(self.world, "sync n{} r{} {}", self.node, queued.key.replica, describe(&queued.op));
            self.carry_out(queued.key, &queued.op);
            let permille = match queued.op {
                LogOp::Append(_) => 1,
                LogOp::Truncate(_) | LogOp::Purge(_) => 4,
                LogOp::Vote(_) => 4,
                LogOp::Created(_) | LogOp::Fenced(_) | LogOp::Deleted(_) => 15,
            };
            self.cut_after(permille)
        })
    }

    /// Records a change that survives a crash, and sometimes cuts the power right after the change.
    pub fn durable_step(&self, permille: u64) {
        self.cut_after(permille);
    }

    /// Returns true after a cut of the power.
    fn cut_after(&self, permille: u64) -> bool {
        if self.world.is_calm() {
            return false;
        }
        self.world.count("durable steps");
        let cut = self.world.chance(permille);
        if cut && !self.cut.swap(true, Ordering::Relaxed) {
            self.world.count("crashes right after a durable step");
            self.faults.cut_power();
        }
        self.is_cut()
    }

    /// True between a cut of the power and the next start.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Discards the writes that nobody waits for. The tasks of a crashed node may have queued some before the crash.
    pub fn begin_life(&self) {
        self.cut.store(false, Ordering::Relaxed);
        lock(&self.queue).clear();
    }

    /// Damages a random entry of a log for good. Returns the index; `None` for a log without entries.
    pub fn damage_entry(&self, key: LogKey) -> Option<u64> {
        let logs = lock(&self.logs);
        let entries = &logs.get(&key)?.entries;
        let at = usize::try_from(self.world.below(entries.len() as u64)).ok()?;
        let index = *entries.keys().nth(at)?;
        self.damage.damage(key, index);
        Some(index)
    }

    /// Fails the writes of a batch; a random part is on the disk nevertheless. The node ends, so no
    /// later write is carried out.
    fn fail(&self, batch: Vec<Queued>, error: &io::Error) {
        let kept = usize::try_from(self.world.below(batch.len() as u64 + 1)).unwrap_or(0);
        trace!(self.world, "n{} fails {} writes and keeps {kept}", self.node, batch.len());
        self.world.count("failed writes of a log");
        batch.iter().take(kept).for_each(|queued| self.carry_out(queued.key, &queued.op));
        if self.world.options.plant != Some(PlantedDefect::SwallowedSyncError) {
            lock(&self.queue).clear();
        }
        log::fail(batch.into_iter().filter_map(|q| q.done).collect(), error, &self.faults.on_fatal());
    }

    /// Sometimes cuts the power just before a vote or an entry is reported as synced, or slows the disk
    /// during a membership change.
    fn tempt(&self, key: LogKey, op: &LogOp) {
        let permille = match op {
            LogOp::Append(entries) if has_membership(entries) => {
                // The first membership, at index 0, changes nothing.
                if entries.iter().any(|(index, _)| *index > 0) {
                    self.stall_group(key.group);
                }
                if self.world.chance(150) {
                    self.world.count("disks slow at a membership change");
                    self.slow_until(Instant::now() + self.world.random_ms(50, 800));
                }
                30
            }
            LogOp::Vote(_) => 60,
            LogOp::Append(_) | LogOp::Truncate(_) | LogOp::Purge(_) => 1,
            LogOp::Created(_) | LogOp::Fenced(_) | LogOp::Deleted(_) => 20,
        };
        self.wish_crash(permille);
    }

    /// Sometimes stalls a store group at the write of a membership: the membership is not committed for a while, and the
    /// leader keeps the majority of heartbeats.
    fn stall_group(&self, group: GroupId) {
        if group != GroupId::SYSTEM && self.world.chance(STALLED_PERMILLE) {
            self.world.count("groups stalled at a membership change");
            let until = Instant::now() + self.world.random_ms(500, 2500);
            self.world.network.hosts().into_iter().for_each(|to| self.world.network.stall(group, to, until));
        }
    }

    /// Reports the write of the first entry of a log.
    fn note_first_entry(&self, key: LogKey, op: &LogOp) {
        if is_first_entry(op)
            && let Some(checks) = self.world.replica_checks()
        {
            (checks.first_entry)(key, self.node);
        }
    }

    /// True when the disk or the queue of writes holds the first entry of a log of the group, or the entry was purged.
    #[must_use]
    pub fn has_first_entry(&self, group: GroupId) -> bool {
        let held = |log: &Log| log.purged.is_some() || log.entries.contains_key(&0);
        let queued = |queued: &Queued| queued.key.group == group && is_first_entry(&queued.op);
        lock(&self.logs).iter().any(|(key, log)| key.group == group && held(log))
            || lock(&self.queue).iter().any(queued)
    }

    /// Sometimes requests a crash of the node.
    pub fn wish_crash(&self, permille: u64) {
        if self.world.chance(permille) {
            // A full queue already holds enough requests.
            let _ = self.crash_now.try_send(self.node);
        }
    }
}

/// Returns the place of the first queued append, provided that another append follows.
fn overtaken(queue: &VecDeque<Queued>) -> Option<usize> {
    let mut appends = queue.iter().enumerate().filter(|(_, q)| matches!(q.op, LogOp::Append(_))).map(|(n, _)| n);
    let first = appends.next();
    appends.next().and(first)
}

/// True for an append that begins with the entry at index 0, the first entry of a log.
fn is_first_entry(op: &LogOp) -> bool {
    matches!(op, LogOp::Append(entries) if entries.first().is_some_and(|(index, _)| *index == 0))
}

/// True for an append of a membership.
fn has_membership(entries: &[(u64, Bytes)]) -> bool {
    entries.iter().any(|(_, entry)| membership_of(entry).is_some())
}

fn id_of(entry: &Bytes) -> Option<LogId> {
    pb::Entry::decode(entry.clone()).ok()?.log_id.as_ref().map(codec::log_id_from)
}

fn membership_of(entry: &Bytes) -> Option<(LogId, Voters)> {
    let entry = codec::entry_from(pb::Entry::decode(entry.clone()).ok()?).ok()?;
    match entry.payload {
        Payload::Membership(membership) => Some((entry.log_id, membership.get_joint_config().clone())),
        Payload::Blank | Payload::Normal(_) => None,
    }
}

fn describe(op: &LogOp) -> String {
    match op {
        LogOp::Created(_) => "created".into(),
        LogOp::Vote(vote) => format!("vote {vote}"),
        LogOp::Append(entries) => {
            let mut all = Vec::new();
            entries.iter().for_each(|(_, bytes)| all.extend_from_slice(bytes));
            let first = entries.first().map_or(0, |(index, _)| *index);
            format!("append {first}+{} {:08x}", entries.len(), short(&all))
        }
        LogOp::Truncate(from) => format!("truncate {from}"),
        LogOp::Purge(upto) => format!("purge {upto}"),
        LogOp::Fenced(mark) => format!("fenced at {}", mark.index),
        LogOp::Deleted(tombstone) => format!("deleted, cleared {}", tombstone.cleared),
    }
}

#[async_trait::async_trait]
impl LogDisk for SimLogDisk {
    async fn submit(&self, key: LogKey, op: LogOp, done: Done) {
        while lock(&self.queue).len() >= QUEUE_MAX {
            self.room.notified().await;
        }
        self.note_first_entry(key, &op);
        self.tempt(key, &op);
        let plant = self.world.options.plant;
        let early = matches!(
            (plant, &op),
            (Some(PlantedDefect::AckBeforeSync), LogOp::Append(_))
                | (Some(PlantedDefect::VoteBeforeSync), LogOp::Vote(_))
        );
        let (now, later) = if early { (Some(done), None) } else { (None, Some(done)) };
        lock(&self.queue).push_back(Queued { key, op, done: later });
        self.queued.notify_one();
        if let Some(done) = now {
            done(Ok(()));
        }
    }

    async fn read(&self, key: LogKey, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(u64, Bytes)>> {
        self.world.count("cold log reads");
        self.damage.check(key, from, to)?;
        let logs = lock(&self.logs);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for (index, entry) in logs.get(&key).into_iter().flat_map(|log| log.entries.range(from..to)) {
            bytes += entry.len();
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            out.push((*index, entry.clone()));
        }
        Ok(out)
    }

    async fn recover(&self, key: LogKey) -> io::Result<Recovered> {
        self.damage.check(key, 0, u64::MAX)?;
        let logs = lock(&self.logs);
        let Some(log) = logs.get(&key) else { return Ok(Recovered::default()) };
        let first = log.purged.map_or(0, |p| p.index + 1);
        if let Some((index, next)) = log.entries.keys().zip(first..).find(|(index, next)| **index != *next) {
            let why = format!("entry {index} where {next} must follow");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let entries = log.entries.values().map(EntryInfo::of).collect::<Result<_, _>>();
        let entries = entries.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(Recovered { vote: log.vote, purged: log.purged, entries })
    }

    async fn replicas(&self) -> io::Result<Vec<(LogKey, ReplicaState)>> {
        Ok(lock(&self.logs).iter().filter_map(|(key, log)| Some((*key, log.state?))).collect())
    }

    fn floor(&self) -> Floor {
        Floor { segment: 0, batch: self.synced.load(Ordering::Relaxed) }
    }
}
