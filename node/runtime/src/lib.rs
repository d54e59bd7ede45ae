//! Tasks, blocking work, randomness and wall clock of a node: every source of nondeterminism, replaced in a simulation.
//!
//! Owns the [`Scope`] of a node, carried by every task of the node. In production the scope uses the operating system's
//! random source and clock; in a simulation both follow from the seed, and aborting all tasks of a scope is a crash. No
//! other crate of a node spawns tasks, draws random numbers or reads the wall clock (`clippy.toml` enforces the rule; the
//! environment of a simulation and the test tools have marked exceptions). Apart from
//! [`failpoint`], which counts arrivals in a locked file, the crate never waits and does no I/O. The crate knows nothing
//! of stores or consensus.
//!
//! Every task has an owner who awaits it ([`spawn`]), or a kind that says what follows from its end ([`spawn_task`]).
//!
//! Callers import the crate as `rt`, and write `rt::spawn`, `rt::blocking`, `rt::now_us`:
//!
//! ```
//! use taffrail_runtime as rt;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let scope = rt::Scope::production();
//! let sum = scope.run(async {
//!     // The task belongs to the scope; the sum is computed away from the runtime's threads.
//!     let task = rt::spawn(async { rt::blocking(|| (1..=10).sum::<u32>()).await });
//!     task.await
//! });
//! assert_eq!(sum.await.unwrap().unwrap(), 55);
//! # });
//! ```
//!
//! [`failpoint`] ends the process at a named place, for tests of crashes. [`planted_defect`] marks the places of defects that
//! the simulator must find.
#![allow(clippy::disallowed_methods, reason = "this crate is the one owner of these calls")]

pub mod failpoint;
mod freeze;
pub mod planted_defect;
mod tasks;

pub use tasks::{OnPanic, TaskEnd, TaskKind, TaskWatch, catch, spawn, spawn_task};

use freeze::Freezer;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument;
use uuid::Uuid;

/// A wall clock, which may jump in both directions. A [`Scope`] reads the clock through [`now_us`], from many
/// tasks at once.
pub trait Clock: Send + Sync {
    /// Returns the microseconds since the Unix epoch.
    fn now_us(&self) -> u64;
}

/// The operating system's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Threads for blocking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocking {
    /// On tokio's pool of blocking threads.
    Pool,
    /// On the calling thread: a simulation runs on a single thread, and waiting for another thread would
    /// stop its clock.
    Inline,
}

/// Random source, clock, blocking threads and tasks of a node within a process.
pub struct Scope {
    rng: Mutex<SmallRng>,
    clock: Box<dyn Clock>,
    blocking: Blocking,
    /// Tasks to abort in a simulated crash; `None` in production.
    tasks: Option<Mutex<Vec<AbortHandle>>>,
    /// Receives the unexpected ends of tasks.
    watch: OnceLock<TaskWatch>,
    /// Stops the tasks of a simulated node.
    freezer: Arc<Freezer>,
    /// Faults of a simulated node; none in production.
    faults: Faults,
}

/// Receives the name of a [fault point](failpoint) on arrival.
#[doc(hidden)]
pub type OnFailpoint = Box<dyn Fn(&str) + Send + Sync>;

/// Faults inside a simulated node, which a process never has.
#[doc(hidden)]
#[derive(Default)]
pub struct Faults {
    /// Name of the [planted defect](planted_defect).
    pub defect: Option<&'static str>,
    /// Called with the name of each [fault point](failpoint) on arrival.
    pub on_failpoint: Option<OnFailpoint>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("blocking", &self.blocking).finish_non_exhaustive()
    }
}

tokio::task_local! {
    static SCOPE: Arc<Scope>;
}

impl Scope {
    /// Makes the scope of a real node.
    #[must_use]
    pub fn production() -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(rand::make_rng()),
            clock: Box::new(SystemClock),
            blocking: Blocking::Pool,
            tasks: None,
            watch: OnceLock::new(),
            freezer: Arc::default(),
            faults: Faults::default(),
        })
    }

    /// Makes the scope of a simulated node: everything follows from `seed` and `clock`.
    #[must_use]
    pub fn simulated(seed: u64, clock: Box<dyn Clock>) -> Arc<Self> {
        Self::of_simulation(seed, clock, Faults::default())
    }

    /// Makes the scope of a simulated node with faults. Reserved for the simulator by `clippy.toml`.
    #[doc(hidden)]
    #[must_use]
    pub fn simulated_with_faults(seed: u64, clock: Box<dyn Clock>, faults: Faults) -> Arc<Self> {
        Self::of_simulation(seed, clock, faults)
    }

    fn of_simulation(seed: u64, clock: Box<dyn Clock>, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            clock,
            blocking: Blocking::Inline,
            tasks: Some(Mutex::new(Vec::new())),
            watch: OnceLock::new(),
            freezer: Arc::default(),
            faults,
        })
    }

    /// Aborts every task of the node between two polls, as a crash does. Does nothing in production.
    pub fn abort_all(&self) {
        let Some(tasks) = &self.tasks else { return };
        for task in tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Passes every unexpected end of a task of the scope to `watch`, on the thread of the task. A scope has a single
    /// watch; a second one is dropped.
    pub fn watch_tasks(&self, watch: TaskWatch) {
        // A second watch is refused, so the first watch never misses an end.
        drop(self.watch.set(watch));
    }

    /// Stops all spawned tasks of a simulated node before their next poll, until [`thaw`](Self::thaw). Does nothing in
    /// production.
    pub fn freeze(&self) {
        self.freezer.freeze();
    }

    /// Lets the tasks continue after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.freezer.thaw();
    }

    /// Runs `future` in this scope.
    pub async fn run<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        SCOPE.scope(self, future).await
    }

    /// Spawns `future` in this scope.
    pub fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let Some(tasks) = &self.tasks else { return tokio::spawn(SCOPE.scope(Arc::clone(self), future)) };
        let handle = tokio::spawn(SCOPE.scope(Arc::clone(self), Arc::clone(&self.freezer).hold(future)));
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() > 256 {
            tasks.retain(|t| !t.is_finished());
        }
        tasks.push(handle.abort_handle());
        drop(tasks);
        handle
    }

    fn next_u64(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// Passes every unexpected end of a task in the scope of the running task to `watch`. Outside of a scope
/// the ends are only logged.
pub fn watch_tasks(watch: TaskWatch) {
    if let Ok(scope) = SCOPE.try_with(Arc::clone) {
        scope.watch_tasks(watch);
    }
}

/// Spawns a task in the scope and the tracing span of the running task.
fn spawn_unwatched<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let future = future.in_current_span();
    match SCOPE.try_with(Arc::clone) {
        Ok(scope) => scope.spawn(future),
        Err(_) => tokio::spawn(future),
    }
}

/// Runs blocking work (RocksDB, files) away from the runtime's threads.
///
/// # Errors
/// When the work panicked or the runtime is shutting down.
pub async fn blocking<F, T>(work: F) -> Result<T, tokio::task::JoinError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if is_inline() { Ok(work()) } else { tokio::task::spawn_blocking(work).await }
}

/// Returns true when blocking work runs on the calling thread, as in a simulation.
#[must_use]
pub fn is_inline() -> bool {
    SCOPE.try_with(|s| s.blocking == Blocking::Inline).unwrap_or(false)
}

/// Returns the planted defect of the running task's scope.
fn defect() -> Option<&'static str> {
    SCOPE.try_with(|s| s.faults.defect).ok().flatten()
}

/// Tells the scope of the running task about the arrival at a fault point.
fn at_failpoint(name: &dyn fmt::Display) {
    // Without a scope, the call belongs to a process or a test.
    let _ = SCOPE.try_with(|s| {
        if let Some(called) = &s.faults.on_failpoint {
            called(&name.to_string());
        }
    });
}

/// Starts a named thread for work with the lifetime of the node, such as the log writer.
///
/// # Errors
/// When the operating system refuses the thread.
pub fn thread<F: FnOnce() + Send + 'static>(name: &str, work: F) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Returns a random number from the scope of the running task.
#[must_use]
pub fn random_u64() -> u64 {
    match SCOPE.try_with(|s| s.next_u64()) {
        Ok(n) => n,
        Err(_) => rand::rng().next_u64(),
    }
}

/// Returns a random UUID (version 4) from the scope of the running task.
#[must_use]
pub fn new_uuid() -> Uuid {
    let (high, low) = (random_u64(), random_u64());
    uuid::Builder::from_u128((u128::from(high) << 64) | u128::from(low)).with_version(uuid::Version::Random).into_uuid()
}

/// Returns a random duration below `max`, for backoff and phase.
///
/// ```
/// use std::time::Duration;
///
/// assert!(taffrail_runtime::jitter(Duration::from_secs(1)) < Duration::from_secs(1));
/// ```
#[must_use]
pub fn jitter(max: Duration) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(random_u64() % nanos) }
}

/// Returns the node's wall clock in microseconds since the Unix epoch. The clock may jump, so callers never order
/// events by the clock alone.
#[must_use]
pub fn now_us() -> u64 {
    match SCOPE.try_with(|s| s.clock.now_us()) {
        Ok(now) => now,
        Err(_) => SystemClock.now_us(),
    }
}
