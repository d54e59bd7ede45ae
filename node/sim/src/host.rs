//! [`Host`]: a node with crash-safe disks, and the tasks between two crashes. The host creates and removes the replica in
//! the same steps as a real node.

use crate::{
    disk::SimLogDisk,
    invariants::Invariants,
    lock::lock,
    machine::Watched,
    network::Endpoint,
    peer_handler::SimPeerHandler,
    trace,
    transport::SimTransport,
    world::{GROUP, PARTITION, World},
};
use rocksdb::Env;
use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use taffrail_core::ids::{Digest, NodeId, ReplicaId};
use taffrail_raft::{
    catch_up_limits::CatchUpLimits,
    group::{Group, Home},
    log::{FenceMark, LogDisk, LogKey, LogOp, ReplicaState, Tombstone, write_synced},
    peer::server::Service,
    status::Status,
    types::LogId,
};
use taffrail_runtime::{self as rt, Clock, Scope, TaskKind};
use taffrail_storage::store::{
    replica::Replica,
    state_db::{Medium, StateDb},
    store_machine::{StoreMachine, delete_group},
};
use taffrail_store_api::LeaderHint;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, yield_now},
    time::Instant,
};

/// Wall clock at the start of every run.
const EPOCH_US: u64 = 1_800_000_000_000_000;
/// Yields to the tasks of a crashed node, so that all tasks are dropped before the disk is opened again.
const DROP_TURNS_MAX: u32 = 10_000;

/// Wall clock of a node: a start value per node plus simulated time.
struct SimClock {
    zero: Instant,
    at_zero_us: u64,
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        self.at_zero_us + u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A running replica.
pub struct Hosted {
    /// Consensus of the replica.
    pub group: Arc<Group>,
    /// The replica behind the interface of the gateway.
    pub store: Arc<Replica>,
}

impl Hosted {
    /// Id of the replica.
    #[must_use]
    pub fn replica_id(&self) -> ReplicaId {
        self.group.key().replica
    }
}

/// A node between a start and the next crash.
pub struct Running {
    /// Tasks of the node.
    pub scope: Arc<Scope>,
    life: u64,
    db: Mutex<Option<Arc<StateDb>>>,
    home: Mutex<Option<Home>>,
    hosted: Mutex<Option<Arc<Hosted>>>,
    /// Serialises creation and removal of replicas.
    turn: tokio::sync::Mutex<()>,
}

impl Running {
    /// The running replica.
    #[must_use]
    pub fn replica(&self) -> Option<Arc<Hosted>> {
        lock(&self.hosted).clone()
    }

    /// Services and settings of the node; `None` until the start.
    #[must_use]
    pub fn home(&self) -> Option<Home> {
        lock(&self.home).clone()
    }

    /// The state database; `None` until opened.
    #[must_use]
    pub fn db(&self) -> Option<Arc<StateDb>> {
        lock(&self.db).clone()
    }
}

/// A node of a run.
pub struct Host {
    /// Id of the node.
    pub node: NodeId,
    /// Log disk of the node.
    pub log_disk: Arc<SimLogDisk>,
    world: Arc<World>,
    env: Env,
    lives: Mutex<u64>,
    running: Mutex<Option<Arc<Running>>>,
    last_db: Mutex<Weak<StateDb>>,
}

impl Host {
    /// A node with blank disks, not running.
    ///
    /// # Errors
    /// When RocksDB gives no memory environment.
    pub fn new(world: Arc<World>, node: NodeId, crash_now: mpsc::Sender<NodeId>) -> Result<Arc<Self>, rocksdb::Error> {
        Ok(Arc::new(Self {
            node,
            log_disk: SimLogDisk::new(Arc::clone(&world), node, crash_now),
            world,
            env: Env::mem_env()?,
            lives: Mutex::new(0),
            running: Mutex::new(None),
            last_db: Mutex::default(),
        }))
    }

    /// The running node; `None` while down.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        lock(&self.running).clone()
    }

    /// The running replica of this node.
    #[must_use]
    pub fn replica(&self) -> Option<Arc<Hosted>> {
        self.running()?.replica()
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
        trace!(self.world, "start n{} life {life}", self.node);
        // The clocks of nodes differ, and a clock may jump back across a restart.
        let skew_us = self.world.below(20_000_000);
        let clock = SimClock { zero: Instant::now(), at_zero_us: EPOCH_US + life * 1_000_000 + skew_us };
        let (node, failing) = (self.node, Arc::clone(&self.world));
        let scope = Scope::simulated(self.world.random(), Box::new(clock));
        scope.watch_tasks(Box::new(move |end| {
            failing.fail(format!("n{node}: the task {} has ended: {}", end.task, end.why));
        }));
        let running = Arc::new(Running {
            scope,
            life,
            db: Mutex::new(None),
            home: Mutex::new(None),
            hosted: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        });
        *lock(&self.running) = Some(Arc::clone(&running));
        let this = Arc::clone(self);
        let scope = Arc::clone(&running.scope);
        scope.spawn(async move {
            if let Err(e) = this.run(running).await {
                this.world.fail(format!("n{} does not start: {e}", this.node));
            }
        });
    }

    /// Crashes the node between two steps of the tasks; unsynced writes are lost.
    pub fn crash(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        trace!(self.world, "crash n{}", self.node);
        self.world.count("crashes");
        self.world.network.detach(self.node);
        running.scope.abort_all();
        self.log_disk.crash();
        lock(&running.hosted).take();
        lock(&running.home).take();
        if let Some(db) = lock(&running.db).take() {
            *lock(&self.last_db) = Arc::downgrade(&db);
        }
    }

    /// Opens the state database after the database of the previous start is closed. Otherwise content of memory would
    /// survive the crash.
    async fn open_db(&self) -> io::Result<Arc<StateDb>> {
        let last = lock(&self.last_db).clone();
        for _ in 0..DROP_TURNS_MAX {
            if last.strong_count() == 0 {
                let medium = Medium::Memory(self.env.clone());
                return Ok(Arc::new(StateDb::open(Path::new("/state"), &medium).map_err(io::Error::other)?));
            }
            yield_now().await;
        }
        Err(io::Error::other("the database of the previous start is still open"))
    }

    async fn run(self: &Arc<Self>, running: Arc<Running>) -> io::Result<()> {
        rt::spawn_task("log writer", TaskKind::Part, Arc::clone(&self.log_disk).write());
        let db = self.open_db().await?;
        *lock(&running.db) = Some(db);
        let (world, node) = (Arc::clone(&self.world), self.node);
        let own = watch::channel(Some((self.world.cluster, node))).1;
        let home = Home {
            cluster: self.world.cluster,
            node,
            disk: Arc::clone(&self.log_disk) as Arc<dyn LogDisk>,
            transport: Arc::new(SimTransport::new(Arc::clone(&world), node, own)),
            tuning: self.world.tuning.clone(),
            catch_ups: CatchUpLimits::new(self.world.tuning.catch_up_bytes_per_second),
            on_fatal: Arc::new(move |e| world.fail(format!("n{node}: the state cannot be written: {e}"))),
        };
        *lock(&running.home) = Some(home);
        let service = Arc::new(Service::new(Arc::new(SimPeerHandler::new(node, self.world.cluster, &running))));
        let scope = Arc::clone(&running.scope);
        let endpoint = Endpoint { scope, service, life: running.life, ports: None };
        self.world.network.attach(node, endpoint);
        for (key, state) in self.log_disk.replicas().await? {
            if matches!(state, ReplicaState::Live(_)) {
                self.ensure(&running, key.replica).await?;
            }
        }
        trace!(self.world, "up n{node}");
        loop {
            self.world.pause(50, 250).await;
            let Some(hosted) = running.replica() else { continue };
            if let Some(why) = hosted.group.status().stopped {
                self.world.fail(format!("n{node} r{} stopped: {why}", hosted.replica_id()));
                return Ok(());
            }
            hosted.group.purge_if_due().await;
        }
    }

    /// Lets the running node create a replica, or open an existing replica.
    pub fn make(self: &Arc<Self>, replica: ReplicaId) -> Option<JoinHandle<io::Result<()>>> {
        let (this, running) = (Arc::clone(self), self.running()?);
        let scope = Arc::clone(&running.scope);
        Some(scope.spawn(async move { this.ensure(&running, replica).await }))
    }

    async fn ensure(self: &Arc<Self>, running: &Arc<Running>, replica: ReplicaId) -> io::Result<()> {
        let _turn = running.turn.lock().await;
        if let Some(hosted) = running.replica() {
            let same = hosted.replica_id() == replica;
            return if same { Ok(()) } else { Err(io::Error::other("another replica of the group runs here")) };
        }
        let parts = running.db().zip(lock(&running.home).clone());
        let (db, home) = parts.ok_or_else(|| io::Error::other("this node is not up yet"))?;
        let key = LogKey { group: GROUP, replica };
        let known = home.disk.replicas().await?.into_iter().find(|(k, _)| *k == key);
        match known {
            Some((_, ReplicaState::Deleted(_))) => {
                return Err(io::Error::other("the replica was removed and must not be created again"));
            }
            Some((_, ReplicaState::Fenced(_))) => {
                return Err(io::Error::other("the replica is fenced and must not be opened again"));
            }
            Some((_, ReplicaState::Live(_))) => {}
            None => write_synced(&*home.disk, key, LogOp::Created(PARTITION)).await?,
        }
        let machine = StoreMachine::open(Arc::clone(&db), GROUP, PARTITION).map_err(io::Error::other)?;
        let machine = Watched::new(Box::new(machine), key, Arc::clone(&self.world), Arc::clone(&self.log_disk));
        let group = Group::start(&home, key, Box::new(machine)).await?;
        let first = first_members();
        if first.contains_key(&replica) && self.world.options.formers.include(replica) {
            group.initialize(&first).await?;
        }
        let follow = follow(Arc::clone(&self.world), self.node, Arc::clone(&group));
        rt::spawn_task("observer", TaskKind::Part, follow);
        let store = Replica::start(Arc::clone(&group), db, PARTITION);
        *lock(&running.hosted) = Some(Arc::new(Hosted { group, store }));
        trace!(self.world, "replica n{} r{replica}", self.node);
        Ok(())
    }

    /// Lets the running node fence a replica: writes a synced mark, then stops the replica. The data stays.
    pub fn fence(self: &Arc<Self>, replica: ReplicaId) -> Option<JoinHandle<io::Result<()>>> {
        let (this, running) = (Arc::clone(self), self.running()?);
        let scope = Arc::clone(&running.scope);
        Some(scope.spawn(async move { this.end_for_ever(&running, replica).await }))
    }

    async fn end_for_ever(&self, running: &Arc<Running>, replica: ReplicaId) -> io::Result<()> {
        let _turn = running.turn.lock().await;
        let home = lock(&running.home).clone().ok_or_else(|| io::Error::other("this node is not up yet"))?;
        let key = LogKey { group: GROUP, replica };
        let fenced = |known: &(LogKey, ReplicaState)| known.0 == key && matches!(known.1, ReplicaState::Fenced(_));
        if home.disk.replicas().await?.iter().any(fenced) {
            return Ok(());
        }
        let hosted = running.replica().filter(|h| h.replica_id() == replica);
        let hosted = hosted.ok_or_else(|| io::Error::other("the replica does not run yet"))?;
        let Status { applied: index, digest, .. } = hosted.group.status();
        if index == 0 {
            // A replica cannot diverge before the first applied entry, and a group may never form without the first member.
            return Err(io::Error::other("the replica has applied nothing yet"));
        }
        let mark = FenceMark { partition: PARTITION, index, digest, majority: Digest::default() };
        write_synced(&*home.disk, key, LogOp::Fenced(mark)).await?;
        lock(&running.hosted).take_if(|h| h.replica_id() == replica);
        hosted.group.stop().await;
        trace!(self.world, "fenced n{} r{replica}", self.node);
        Ok(())
    }

    /// Lets the running node remove a replica: writes a synced tombstone, then deletes the rows.
    pub fn remove(self: &Arc<Self>, replica: ReplicaId) -> Option<JoinHandle<io::Result<()>>> {
        let (this, running) = (Arc::clone(self), self.running()?);
        let scope = Arc::clone(&running.scope);
        Some(scope.spawn(async move { this.clear_away(&running, replica).await }))
    }

    async fn clear_away(&self, running: &Arc<Running>, replica: ReplicaId) -> io::Result<()> {
        let _turn = running.turn.lock().await;
        let parts = running.db().zip(lock(&running.home).clone());
        let (db, home) = parts.ok_or_else(|| io::Error::other("this node is not up yet"))?;
        let hosted = lock(&running.hosted).take_if(|h| h.replica_id() == replica);
        if let Some(hosted) = hosted {
            hosted.group.stop().await;
        }
        let key = LogKey { group: GROUP, replica };
        let tombstone = Tombstone { partition: PARTITION, cleared: false };
        if home.disk.replicas().await?.contains(&(key, ReplicaState::Deleted(tombstone))) {
            return Ok(());
        }
        write_synced(&*home.disk, key, LogOp::Deleted(tombstone)).await?;
        delete_group(&db, GROUP, PARTITION).map_err(io::Error::other)?;
        trace!(self.world, "removed n{} r{replica}", self.node);
        Ok(())
    }
}

/// Initial members of the group.
#[must_use]
pub fn first_members() -> BTreeMap<ReplicaId, NodeId> {
    (1..=crate::world::VOTERS).map(|n| (ReplicaId::new(n), NodeId::new(n))).collect()
}

/// Traces the view of a replica, counts elections, and reports an unrequested stop of a group.
async fn follow(world: Arc<World>, node: NodeId, group: Arc<Group>) {
    let (replica, mut changes) = (group.key().replica, group.watch());
    let mut last = String::new();
    while group.changed(&mut changes).await {
        let s = group.status();
        let leader = s.leader.map_or(0, |l: LeaderHint| l.replica.get());
        let voters: Vec<u64> = s.membership.voter_ids().collect();
        let now = format!("leads {} leader r{leader} term {} voters {voters:?}", s.leads, s.term);
        if now != last {
            trace!(world, "believes n{node} r{replica} {now} log {} committed {}", s.log_end, s.committed);
            last = now;
        }
        if s.leads && lock(&world.invariants).leads(s.term, replica) {
            world.count("elections");
        }
    }
    if !group.stopping().is_cancelled() {
        world.fail(format!("n{node} r{replica}: consensus has ended without a stop"));
    }
}

/// All nodes of a run.
pub struct Hosts(pub Vec<Arc<Host>>);

impl Hosts {
    /// The node with this id.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Arc<Host>> {
        self.0.iter().find(|h| h.node == node)
    }

    /// The leader of the latest term, with the host.
    #[must_use]
    pub fn leader(&self) -> Option<(Arc<Host>, Arc<Hosted>)> {
        let hosted = self.0.iter().filter_map(|h| Some((Arc::clone(h), h.replica()?)));
        hosted.filter(|(_, r)| r.group.leads()).max_by_key(|(_, r)| r.group.status().term)
    }

    /// True when a majority has synced the entry: the entry would survive a crash of all nodes.
    #[must_use]
    pub fn majority_has(&self, id: LogId, invariants: &Invariants) -> bool {
        let has = |host: &&Arc<Host>| {
            let mut replicas = host.log_disk.kept().into_iter();
            replicas.any(|r| host.log_disk.has(r, id) || invariants.persisted_next(r) > id.index)
        };
        self.0.iter().filter(has).count() >= 2
    }

    /// Ends all nodes and drops their references to each other.
    pub fn end(&self) {
        self.0.iter().for_each(|h| h.crash());
    }

    /// Time limit of a client for an answer.
    #[must_use]
    pub fn patience(world: &World) -> Duration {
        world.ms(1500)
    }
}
