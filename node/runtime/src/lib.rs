//! The seam between the node and the world that a simulation replaces: tasks, blocking work, randomness, wall clock.
//!
//! A node is one `Scope`, carried by every task that belongs to it. In production the scope reads the operating system's
//! random source and clock; in a simulation both follow from the seed, and dropping all tasks of a scope is a crash.
//! Nothing else in the node may spawn, draw random numbers or read the wall clock (clippy.toml enforces it).
#![allow(clippy::disallowed_methods, reason = "this crate is the one owner of these calls")]

pub mod failpoint;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument;
use uuid::Uuid;

/// Wall clock, microseconds since the Unix epoch.
pub trait Clock: Send + Sync {
    /// Now.
    fn now_us(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Where blocking work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On tokio's pool of blocking threads.
    Pool,
    /// In place: a simulation has one thread, and a waiting thread would stop its clock.
    Inline,
}

/// Everything that belongs to one node of a process.
pub struct Scope {
    rng: Mutex<SmallRng>,
    clock: Box<dyn Clock>,
    blocking: Blocking,
    /// Tasks to abort at a simulated crash; not kept in production.
    tasks: Option<Mutex<Vec<AbortHandle>>>,
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
    /// The scope of a real node.
    #[must_use]
    pub fn production() -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(rand::make_rng()),
            clock: Box::new(SystemClock),
            blocking: Blocking::Pool,
            tasks: None,
        })
    }

    /// The scope of a simulated node: everything follows from `seed` and `clock`.
    #[must_use]
    pub fn simulated(seed: u64, clock: Box<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            clock,
            blocking: Blocking::Inline,
            tasks: Some(Mutex::new(Vec::new())),
        })
    }

    /// Aborts every task of the node between two polls: a crash.
    pub fn abort_all(&self) {
        let Some(tasks) = &self.tasks else { return };
        for task in tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    /// Runs `future` as part of this node.
    pub async fn run<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        SCOPE.scope(self, future).await
    }

    /// Spawns `future` as part of this node.
    pub fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = tokio::spawn(SCOPE.scope(Arc::clone(self), future));
        if let Some(tasks) = &self.tasks {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if tasks.len() > 256 {
                tasks.retain(|t| !t.is_finished());
            }
            tasks.push(handle.abort_handle());
        }
        handle
    }

    fn next_u64(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// The scope of the running task; outside of any (tests, the command line) a production scope of its own.
#[must_use]
pub fn scope() -> Arc<Scope> {
    SCOPE.try_with(Arc::clone).unwrap_or_else(|_| Scope::production())
}

/// Spawns a task that belongs to the node of the running task, and to its span.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
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
/// When the work panicked or the runtime is going down.
pub async fn blocking<F, T>(work: F) -> Result<T, tokio::task::JoinError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let inline = SCOPE.try_with(|s| s.blocking == Blocking::Inline).unwrap_or(false);
    if inline { Ok(work()) } else { tokio::task::spawn_blocking(work).await }
}

/// True where blocking work runs in place.
#[must_use]
pub fn is_inline() -> bool {
    SCOPE.try_with(|s| s.blocking == Blocking::Inline).unwrap_or(false)
}

/// Runs blocking work to its end on a thread of its own, reporting through its own channels; inline in a simulation.
pub fn blocking_detached<F: FnOnce() + Send + 'static>(work: F) {
    let inline = SCOPE.try_with(|s| s.blocking == Blocking::Inline).unwrap_or(false);
    if inline {
        work();
    } else {
        drop(tokio::task::spawn_blocking(work));
    }
}

/// Starts a named thread that lives as long as the node (log writer).
///
/// # Errors
/// When the operating system refuses the thread.
pub fn thread<F: FnOnce() + Send + 'static>(name: &str, work: F) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// A random number of the node.
#[must_use]
pub fn random_u64() -> u64 {
    match SCOPE.try_with(|s| s.next_u64()) {
        Ok(n) => n,
        Err(_) => rand::rng().next_u64(),
    }
}

/// A random UUID (version 4) of the node.
#[must_use]
pub fn new_uuid() -> Uuid {
    let (high, low) = (random_u64(), random_u64());
    uuid::Builder::from_u128((u128::from(high) << 64) | u128::from(low)).with_version(uuid::Version::Random).into_uuid()
}

/// A random part of `max`, for backoff and phase.
#[must_use]
pub fn jitter(max: Duration) -> Duration {
    let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 { Duration::ZERO } else { Duration::from_nanos(random_u64() % nanos) }
}

/// Wall clock of the node, microseconds since the Unix epoch. May jump; never used to order anything by itself.
#[must_use]
pub fn now_us() -> u64 {
    match SCOPE.try_with(|s| s.clock.now_us()) {
        Ok(now) => now,
        Err(_) => SystemClock.now_us(),
    }
}
