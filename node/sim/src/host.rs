//! [`Host`]: a machine with crash-safe disks, which runs the real node between a start and the next crash.

use super::{
    layout::Layout,
    links,
    peers::SimPeers,
    settings::config,
    volume::{SimVolume, VolumeCopy},
};
use crate::{
    disk::{LogCopy, SimLogDisk},
    lock::lock,
    machine::Watched,
    network::{Endpoint, Ports},
    planted_defect::PlantedDefect,
    trace,
    transport::SimTransport,
    world::World,
};
use rocksdb::Env;
use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use taffrail_core::ids::{GroupId, NodeId, ReplicaId};
use taffrail_gateway::server::{add_native, in_process};
use taffrail_metrics::Metrics;
use taffrail_node::{
    exit::Code,
    identity::{DataDir, PeerStarts},
    member::{
        lifecycle::{End, Lifecycle},
        member::Member,
        wiring::{Environment, Services, Wiring, wire},
    },
};
use taffrail_raft::{
    group::Group,
    log::{LogDisk, floor::Floor, rocksdb_log::OnFatal},
    peer::{dispatch::Handler, server::Service, starts::Start},
};
use taffrail_runtime::{self as rt, Clock, Faults, Scope, TaskKind};
use taffrail_storage::store::state_db::{Medium, StateDb};
use tokio::{
    sync::{mpsc, watch},
    task::yield_now,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

/// Wall clock at the start of every run.
const EPOCH_US: u64 = 1_800_000_000_000_000;
/// Largest usual difference between the clocks of two starts, in microseconds.
const SKEW_US_MAX: u64 = 20_000_000;
/// Starts per thousand with a clock far ahead.
const FAR_PERMILLE: u64 = 30;
/// Crashes per thousand arrivals at a fault point.
const FAILPOINT_PERMILLE: u64 = 30;
/// Yields to the tasks of a crashed node, so that all tasks are dropped before the disk is opened again.
const DROP_TURNS_MAX: u32 = 10_000;

/// Wall clock of a node: a start value per start plus simulated time.
struct SimClock {
    zero: Instant,
    at_zero_us: u64,
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        self.at_zero_us + u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A node between a start and the next crash.
pub struct Running {
    scope: Arc<Scope>,
    life: u64,
    parts: Mutex<Option<Parts>>,
}

impl Running {
    /// Tasks of the node.
    #[must_use]
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }
}

/// A copy of all disks of a host.
pub struct DiskCopy {
    log: LogCopy,
    volume: VolumeCopy,
}

impl DiskCopy {
    /// Place of the last write in the log.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.log.floor()
    }
}

/// Parts of a running node read by the checks.
struct Parts {
    db: Arc<StateDb>,
    starts: Arc<PeerStarts>,
    member: watch::Receiver<Option<Arc<Member>>>,
}

/// A host of a run.
pub struct Host {
    /// Number of the host, also used by the log disk and by the network. The node id is another number.
    pub number: NodeId,
    /// Log disk of the host.
    pub log_disk: Arc<SimLogDisk>,
    volume: SimVolume,
    world: Arc<World>,
    env: Env,
    /// Number of copies of the state database.
    copies: Mutex<u64>,
    lives: Mutex<u64>,
    /// Advance of the clock of the next starts; `None` for a random advance.
    clock_ahead: Mutex<Option<Duration>>,
    running: Mutex<Option<Arc<Running>>>,
    last_db: Mutex<Weak<StateDb>>,
}

impl Host {
    /// A host with blank disks, not running.
    ///
    /// # Errors
    /// When RocksDB gives no memory environment.
    pub fn new(world: Arc<World>, number: NodeId, crash: mpsc::Sender<NodeId>) -> Result<Arc<Self>, rocksdb::Error> {
        let log_disk = SimLogDisk::new(Arc::clone(&world), number, crash);
        Ok(Arc::new(Self {
            number,
            volume: SimVolume::new(Arc::clone(&log_disk)),
            log_disk,
            world,
            env: Env::mem_env()?,
            copies: Mutex::new(0),
            lives: Mutex::new(0),
            clock_ahead: Mutex::default(),
            running: Mutex::new(None),
            last_db: Mutex::default(),
        }))
    }

    /// Sets the free bytes of the disk of the node. A blank disk has room.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.volume.set_free_bytes(free_bytes);
    }

    /// The running node; `None` while down.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    /// The member of the running node, once the node is a member.
    #[must_use]
    pub fn member(&self) -> Option<Arc<Member>> {
        let running = self.running()?;
        let parts = lock(&running.parts);
        parts.as_ref()?.member.borrow().clone()
    }

    /// The state database of the running node.
    #[must_use]
    pub fn db(&self) -> Option<Arc<StateDb>> {
        let running = self.running()?;
        let parts = lock(&running.parts);
        parts.as_ref().map(|p| Arc::clone(&p.db))
    }

    /// The records of the running node about the disks of the peers.
    #[must_use]
    pub fn peer_starts(&self) -> Option<Arc<PeerStarts>> {
        let running = self.running()?;
        let parts = lock(&running.parts);
        parts.as_ref().map(|p| Arc::clone(&p.starts))
    }

    /// Copies all disks of a running node, like a snapshot of a volume in use.
    #[must_use]
    pub fn copy_disk(&self) -> Option<DiskCopy> {
        let db = self.db()?;
        let number = {
            let mut copies = lock(&self.copies);
            *copies += 1;
            *copies
        };
        let state = PathBuf::from(format!("/copy-{number}"));
        if let Err(e) = db.copy_to(&state) {
            self.world.fail(format!("n{}: the state cannot be copied: {e}", self.number));
            return None;
        }
        Some(DiskCopy { log: self.log_disk.copy(), volume: self.volume.copy(state) })
    }

    /// Ends the node and replaces the content of all disks by an earlier copy.
    pub fn restore_disk(&self, copy: DiskCopy) {
        self.kill();
        self.volume.restore(copy.volume);
        self.log_disk.restore(copy.log);
    }

    /// Sets the clock of the next starts to this advance.
    pub fn set_clock_ahead(&self, by: Duration) {
        *lock(&self.clock_ahead) = Some(by);
    }

    /// Starts the node; no effect on a running node.
    pub fn start(self: &Arc<Self>) {
        if self.running().is_some() {
            return;
        }
        let life = {
            let mut lives = lock(&self.lives);
            *lives += 1;
            *lives
        };
        trace!(self.world, "start n{} life {life}", self.number);
        self.log_disk.begin_life();
        // The clocks of hosts differ, and a clock may jump back across a restart.
        let far = self.world.chance(FAR_PERMILLE);
        if far {
            self.world.count("clocks far ahead");
        }
        let skew_us =
            self.world.below(if far { self.world.options.far_clock_seconds * 1_000_000 } else { SKEW_US_MAX });
        let ahead = lock(&self.clock_ahead).map(|by| u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
        let skew_us = ahead.unwrap_or(skew_us);
        let clock = SimClock { zero: Instant::now(), at_zero_us: EPOCH_US + life * 1_000_000 + skew_us };
        let scope = self.scope(life, clock);
        let (number, failing) = (self.number, Arc::clone(&self.world));
        scope.watch_tasks(Box::new(move |end| {
            failing.fail(format!("n{number}: the task {} has ended: {}", end.task, end.why));
        }));
        let running = Arc::new(Running { scope: Arc::clone(&scope), life, parts: Mutex::new(None) });
        *lock(&self.running) = Some(Arc::clone(&running));
        let this = Arc::clone(self);
        scope.spawn(async move {
            let ended = this.run(&running).await;
            this.ended(life, ended);
        });
    }

    /// The scope of a start. Crashes are likely at the fault points of the node, which lie between durable steps.
    fn scope(self: &Arc<Self>, life: u64, clock: SimClock) -> Arc<Scope> {
        let (this, disk) = (Arc::downgrade(self), Arc::clone(&self.log_disk));
        self.log_disk.faults.set_on_fatal(Arc::new(move |e| {
            if let Some(host) = this.upgrade() {
                host.write_failed(e);
            }
        }));
        let this = Arc::downgrade(self);
        self.log_disk.faults.set_cut_power(Arc::new(move || {
            let Some(host) = this.upgrade() else { return };
            // Not from within a task of the node, which would go on until its next pause.
            Arc::clone(&host.world).spawn(async move {
                if host.running().is_some_and(|r| r.life == life) {
                    host.crash();
                    host.start_later();
                }
            });
        }));
        let world = Arc::clone(&self.world);
        let faults = Faults {
            defect: self.world.options.plant.and_then(PlantedDefect::in_node),
            on_failpoint: Some(Box::new(move |name| {
                if name == "snapshot-bounded" {
                    world.count("snapshots bounded by the log");
                }
                disk.wish_crash(FAILPOINT_PERMILLE);
            })),
        };
        #[expect(clippy::disallowed_methods, reason = "the simulator causes faults")]
        Scope::simulated_with_faults(self.world.random(), Box::new(clock), faults)
    }

    /// Crashes the node between two steps of the tasks; unsynced writes are lost.
    pub fn crash(&self) {
        if self.running().is_some() {
            trace!(self.world, "crash n{}", self.number);
            self.world.count("crashes");
            self.kill();
        }
    }

    /// Ends the node and blanks all disks.
    pub fn lose_disk(&self) {
        self.kill();
        self.volume.blank();
    }

    /// Ends the node after a failed write, as the process ends, and starts the node again later.
    fn write_failed(self: &Arc<Self>, error: &io::Error) {
        if self.running().is_none() || self.log_disk.is_cut() {
            return;
        }
        if self.log_disk.faults.write_error().is_none() {
            return self.world.fail(format!("n{}: a write failed: {error}", self.number));
        }
        trace!(self.world, "n{} ends: {error}", self.number);
        self.world.count("ends after a failed write");
        self.kill();
        self.start_later();
    }

    fn start_later(self: &Arc<Self>) {
        let (this, world) = (Arc::clone(self), Arc::clone(&self.world));
        self.world.spawn(async move {
            world.pause(10, 500).await;
            this.start();
        });
    }

    fn kill(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        self.world.network.detach(self.number);
        running.scope.abort_all();
        self.log_disk.crash();
        if let Some(parts) = lock(&running.parts).take() {
            *lock(&self.last_db) = Arc::downgrade(&parts.db);
        }
    }

    /// Opens the state database after the database of the previous start is closed. Otherwise content of memory would
    /// survive the crash.
    async fn open_db(&self) -> Result<Arc<StateDb>, End> {
        let last = lock(&self.last_db).clone();
        for _ in 0..DROP_TURNS_MAX {
            if last.strong_count() == 0 {
                let medium = Medium::Memory(self.env.clone());
                return StateDb::open(&self.volume.state_path(), &medium).map(Arc::new).map_err(failed);
            }
            yield_now().await;
        }
        Err(failed("the database of the previous start is still open"))
    }

    /// Runs the node in the same order as a process: identity, databases, wiring, ports, lifecycle.
    async fn run(self: &Arc<Self>, running: &Arc<Running>) -> Result<(), End> {
        let mut dir = DataDir::on(Box::new(self.volume.clone()), rt::new_uuid)?;
        let starts = PeerStarts::open(Box::new(self.volume.clone()), self.on_fatal())?;
        rt::spawn_task("log writer", TaskKind::Part, Arc::clone(&self.log_disk).write());
        let db = self.open_db().await?;
        dir.record_start(Start { nonce: rt::random_u64(), floor: self.log_disk.floor() })?;
        let environment = self.environment(Arc::clone(&db), Arc::clone(&starts))?;
        let Wiring { handles, requests, member, services } = wire(environment);
        *lock(&running.parts) = Some(Parts { db, starts, member: member.clone() });
        self.attach(running, &services);
        links::keep(&self.world, self.number);
        let observer = observe(Arc::clone(&self.world), Arc::clone(&self.log_disk), member);
        rt::spawn_task("observer", TaskKind::Part, observer);
        trace!(self.world, "up n{}", self.number);
        Lifecycle::new(handles, dir, requests).run().await
    }

    fn on_fatal(&self) -> OnFatal {
        let (world, number) = (Arc::clone(&self.world), self.number);
        Arc::new(move |e: &io::Error| world.fail(format!("n{number}: the disk cannot be written: {e}")))
    }

    fn environment(&self, db: Arc<StateDb>, peer_starts: Arc<PeerStarts>) -> Result<Environment, End> {
        let (own, own_rx) = watch::channel(None);
        let number = self.number;
        let (watched, disk) = (Arc::clone(&self.world), Arc::clone(&self.log_disk));
        Ok(Environment {
            config: Arc::new(config(&self.world, number)),
            metrics: Arc::new(Metrics::new("simulated").map_err(failed)?),
            db,
            log: Arc::clone(&self.log_disk) as Arc<dyn LogDisk>,
            transport: Arc::new(SimTransport::new(Arc::clone(&self.world), number, own_rx)),
            peers: Arc::new(SimPeers { world: Arc::clone(&self.world), host: number }),
            peer_starts,
            own,
            wrap: Arc::new(move |key, machine| {
                Box::new(Watched::new(machine, key, Arc::clone(&watched), Arc::clone(&disk)))
            }),
            meter: Arc::new(self.volume.clone()),
            on_fatal: self.log_disk.faults.on_fatal(),
            stop_streams: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Makes the ports of the node reachable.
    fn attach(&self, running: &Arc<Running>, services: &Services) {
        let mut clients = RoutesBuilder::default();
        add_native(&mut clients, &services.gateway);
        let handler = Arc::clone(&services.peers) as Arc<dyn Handler>;
        let memory = &services.gateway.memory;
        let ports = Ports {
            handler: Arc::clone(&handler),
            clients: in_process(clients.routes(), memory),
            forwarded: in_process(services.forwarded_routes().routes(), memory),
            admin: in_process(services.admin_routes(), memory),
        };
        let endpoint = Endpoint {
            scope: Arc::clone(&running.scope),
            service: Arc::new(Service::new(handler)),
            life: running.life,
            ports: Arc::new(ports),
        };
        self.world.network.attach(self.number, endpoint);
    }

    /// Ends the process after the end of the lifecycle. A retired or fenced disk starts again, as a container does.
    fn ended(self: &Arc<Self>, life: u64, ended: Result<(), End>) {
        let (this, world) = (Arc::clone(self), Arc::clone(&self.world));
        match ended {
            Err(End { code: Code::Retired, .. }) => world.count("retired disks"),
            Err(End { code: Code::Reverted, .. }) => world.count("reverted disks found"),
            Err(end) => world.fail(format!("n{} ended: {}", self.number, end.why)),
            Ok(()) => world.fail(format!("n{} ended without a stop", self.number)),
        }
        trace!(world, "exit n{}", self.number);
        let after = Arc::clone(&world);
        world.spawn(async move {
            let started = this.running().is_some_and(|r| r.life == life);
            if started {
                this.kill();
            }
            after.pause(10, 500).await;
            this.start();
        });
    }
}

fn failed(why: impl Display) -> End {
    End { code: Code::Failed, why: why.to_string() }
}

/// Traces the view of each replica of a node, counts elections, and reports replicas that stop without a request.
async fn observe(world: Arc<World>, disk: Arc<SimLogDisk>, member: watch::Receiver<Option<Arc<Member>>>) {
    let mut last: BTreeMap<ReplicaId, String> = BTreeMap::new();
    loop {
        world.pause(50, 250).await;
        let Some(member) = member.borrow().clone() else { continue };
        let groups = member.all_running().into_iter().map(|r| r.group).chain([Arc::clone(&member.system)]);
        for group in groups {
            look(&world, &disk, &group, &mut last);
        }
    }
}

fn look(world: &World, disk: &SimLogDisk, group: &Group, last: &mut BTreeMap<ReplicaId, String>) {
    let host = disk.node();
    let (key, status) = (group.key(), group.status());
    let stopping = group.stopping().is_cancelled();
    if let Some(why) = status.stopped.filter(|_| !stopping) {
        if disk.damage.was_met() && key.group != GroupId::SYSTEM {
            trace!(world, "n{host} g{} r{}: consensus stopped: {why}", key.group, key.replica);
            return world.count("replicas stopped by a failed read");
        }
        world.fail(format!("n{host} g{} r{}: consensus stopped without a request: {why}", key.group, key.replica));
        group.stopping().cancel();
        return;
    }
    let leader = status.leader.map_or(0, |l| l.replica.get());
    let voters: Vec<u64> = status.membership.voter_ids().collect();
    let now = format!("leads {} leader r{leader} term {} voters {voters:?}", status.leads, status.term);
    if last.get(&key.replica) != Some(&now) {
        trace!(world, "believes n{host} g{} r{} {now} applied {}", key.group, key.replica, status.applied);
        last.insert(key.replica, now);
    }
    if status.leads && lock(&world.invariants).leads(status.term, key.replica) {
        world.count("elections");
    }
}

/// All hosts of a run.
pub struct Hosts {
    /// Numbers and stores of the run.
    pub layout: Layout,
    all: Vec<Arc<Host>>,
}

impl Hosts {
    /// Hosts with blank disks, not running.
    ///
    /// # Errors
    /// When RocksDB gives no memory environment.
    pub fn new(world: &Arc<World>, layout: Layout, crash: &mpsc::Sender<NodeId>) -> Result<Self, rocksdb::Error> {
        let made = layout.numbers().map(|number| Host::new(Arc::clone(world), number, crash.clone()));
        Ok(Self { all: made.collect::<Result<_, _>>()?, layout })
    }

    /// All hosts, by number.
    #[must_use]
    pub fn all(&self) -> &[Arc<Host>] {
        &self.all
    }

    /// The host with this number.
    #[must_use]
    pub fn get(&self, number: NodeId) -> Option<&Arc<Host>> {
        self.all.iter().find(|h| h.number == number)
    }

    /// The members of all running nodes.
    pub fn members(&self) -> impl Iterator<Item = Arc<Member>> + '_ {
        self.all.iter().filter_map(|h| h.member())
    }

    /// The member leading the system group in the latest term.
    #[must_use]
    pub fn coordinator(&self) -> Option<Arc<Member>> {
        self.members().filter(|m| m.system.leads()).max_by_key(|m| m.system.status().term)
    }

    /// Ends all nodes and drops their references to each other.
    pub fn end(&self) {
        self.all.iter().for_each(|h| h.kill());
    }
}
