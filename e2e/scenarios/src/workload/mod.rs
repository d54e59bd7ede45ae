//! Writers and subscribers with recorded responses, and a check of the record against the stored events.
//!
//! The check verifies:
//! - an acknowledged batch is stored once, completely, at the acknowledged revisions;
//! - a rejected batch is absent;
//! - a batch with an unknown outcome is retried with the same ids until there is a response;
//! - every subscriber received every event once and in order.

mod check;
mod subscriber;
mod writer;

pub(crate) use check::everything;
pub use check::{Tally, Verdict, check, read_all};
pub use subscriber::Observation;
pub use writer::{Expect, History, Outcome, Record, event, name};

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use taffrail_client::Client;
use taffrail_localkube::wait;
use tokio::{task::JoinSet, time::Instant};

/// Time limit for a hundred acknowledgements.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// Store and pods of a workload.
#[derive(Clone, Debug)]
pub struct Target {
    /// Client endpoints by pod, as `http://IP:2113`. The map may change while the workload runs, because pods
    /// come and go.
    pub endpoints: Arc<Mutex<BTreeMap<String, String>>>,
    /// Name of the store.
    pub store: String,
}

impl Target {
    /// Creates a target with these pods.
    #[must_use]
    pub fn new(store: &str, endpoints: BTreeMap<String, String>) -> Self {
        Self { endpoints: Arc::new(Mutex::new(endpoints)), store: store.to_owned() }
    }
    /// Replaces the pods and their endpoints.
    pub fn set(&self, endpoints: BTreeMap<String, String>) {
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }
    /// Returns the names of the pods.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
    fn pick(&self, n: usize) -> Option<String> {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.values().nth(n % endpoints.len().max(1)).cloned()
    }
    fn client(&self, n: usize) -> Option<Client> {
        let options = taffrail_client::ConnectOptions::default();
        let client = Client::connect_lazy(&self.pick(n)?, options).ok()?;
        client.with_store(&self.store).ok().map(|c| c.with_timeout(Duration::from_secs(5)))
    }
}

/// A running workload.
pub struct Workload {
    target: Target,
    stop: Arc<AtomicBool>,
    writers: JoinSet<History>,
    subscribers: JoinSet<Observation>,
    progress: Progress,
    last_subscriber: Arc<AtomicU64>,
}

/// Count and gaps of acknowledged appends.
#[derive(Clone, Default)]
pub struct Progress {
    acknowledged: Arc<AtomicU64>,
    gap: Arc<Mutex<(Option<Instant>, Duration)>>,
}

impl Progress {
    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = gap.0 {
            gap.1 = gap.1.max(now - last);
        }
        gap.0 = Some(now);
    }
    /// Returns the number of batches acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
    /// Returns the longest time between two acknowledgements since the last call.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        let since = gap.0.map_or(Duration::ZERO, |last| last.elapsed());
        std::mem::take(&mut gap.1).max(since)
    }
}

impl Workload {
    /// Starts a workload of:
    ///
    /// - six writers with exact revisions on a shared stream;
    /// - six writers with `any` on another stream, and occasionally on the stream of the exact writers;
    /// - a subscriber of `$all` on every current pod.
    ///
    /// Every tenth append is sent again through another pod. Each writer sends `appends` batches, or batches without
    /// end if `None`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "no part of a simulation; the set owns these tasks")]
    pub fn start(target: &Target, appends: Option<usize>, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Progress::default();
        let mut writers = JoinSet::new();
        for n in 0..12 {
            let expect = if n < 6 { Expect::Exact } else { Expect::Any };
            let settings = writer::Settings { number: n, expect, appends, pause };
            writers.spawn(writer::run(target.clone(), settings, Arc::clone(&stop), progress.clone()));
        }
        let mut this = Self {
            target: target.clone(),
            stop,
            writers,
            subscribers: JoinSet::new(),
            progress,
            last_subscriber: Arc::new(AtomicU64::new(0)),
        };
        for n in 0..target.pods().len() {
            this.subscribe(n);
        }
        this
    }

    #[expect(clippy::disallowed_methods, reason = "no part of a simulation; the set owns this task")]
    fn subscribe(&mut self, pod: usize) {
        self.subscribers.spawn(subscriber::run(self.target.clone(), pod, Arc::clone(&self.last_subscriber)));
    }

    /// Adds a subscriber on a pod, for pods added after the start.
    ///
    /// # Errors
    /// When the pod is not part of the target.
    pub fn subscribe_on(&mut self, pod: &str) -> anyhow::Result<()> {
        let at = self.target.pods().iter().position(|p| p == pod);
        self.subscribe(at.ok_or_else(|| anyhow::anyhow!("no pod {pod}"))?);
        Ok(())
    }

    /// Waits until a hundred more batches are acknowledged.
    ///
    /// # Errors
    /// When the batches are not acknowledged within a minute.
    pub async fn wait_for_progress(&self) -> Result<(), wait::TimedOut> {
        let wanted = self.progress.acknowledged() + 100;
        wait::until("appends to go on", PROGRESS_MAX, || async {
            let now = self.progress.acknowledged();
            if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted} batches are acknowledged")) }
        })
        .await
    }

    /// Returns the count and the gaps of acknowledgements.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Stops the writers, waits until every subscriber received the last event, and checks the whole record.
    ///
    /// # Errors
    /// The first broken guarantee, or a writer or subscriber that does not end within `deadline`.
    pub async fn finish(mut self, deadline: Duration) -> anyhow::Result<Verdict> {
        if self.writers.is_empty() {
            anyhow::bail!("no writers");
        }
        self.stop.store(true, Ordering::Relaxed);
        let mut histories = Vec::new();
        let end = Instant::now() + deadline;
        while let Some(done) = tokio::time::timeout_at(end, self.writers.join_next())
            .await
            .map_err(|_| anyhow::anyhow!("a writer did not end in time"))?
        {
            histories.push(done?);
        }
        self.judge(histories, end).await
    }

    /// Like [`finish`](Self::finish), but waits until the writers have sent their fixed number of appends.
    ///
    /// # Errors
    /// The first broken guarantee, or a writer or subscriber that does not end within `deadline`.
    pub async fn complete(mut self, deadline: Duration) -> anyhow::Result<Verdict> {
        let mut histories = Vec::new();
        let end = Instant::now() + deadline;
        while let Some(done) = tokio::time::timeout_at(end, self.writers.join_next())
            .await
            .map_err(|_| anyhow::anyhow!("the writers did not end in time"))?
        {
            histories.push(done?);
        }
        self.judge(histories, end).await
    }

    async fn judge(mut self, histories: Vec<History>, end: Instant) -> anyhow::Result<Verdict> {
        let stored = check::read_all(&self.target, end).await?;
        self.last_subscriber.store(stored.last().map_or(1, |e| e.position), Ordering::Relaxed);
        let mut seen = Vec::new();
        while let Some(done) = tokio::time::timeout_at(end, self.subscribers.join_next())
            .await
            .map_err(|_| anyhow::anyhow!("a subscriber did not receive the last event in time"))?
        {
            seen.push(done?);
        }
        check(&histories, &stored, &seen)
    }
}
