//! Frame of a reconcile, shared by both kinds: wait for the caches, read the object live, run the work of the kind
//! within a deadline, and write a report on every path, above all after a failure.

use super::publish::{self, HasStatus, publish};
use crate::{
    clock,
    context::Context,
    error::{Class, Error},
    watch::Guarded,
};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt, api::Api, runtime::controller::Action};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Delay before a reconcile without any trigger. A safety net: triggers are the normal mechanism.
pub(crate) const REQUEUE: Duration = Duration::from_secs(420);
/// Time limit of the report after a reconcile has used up its deadline.
const REPORT_WITHIN: Duration = Duration::from_secs(10);

/// Current step of a reconcile, named in the error of a timeout.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: Mutex<String>,
    reported: AtomicBool,
}

impl Progress {
    /// Enters a step, a phrase such as "reading the pods".
    pub(crate) fn at(&self, step: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step.into();
    }

    /// Notes that the reconcile has written its own report.
    pub(crate) fn reported(&self) {
        self.reported.store(true, Ordering::Relaxed);
    }

    fn step(&self) -> String {
        self.step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_reported(&self) -> bool {
        self.reported.load(Ordering::Relaxed)
    }
}

/// Kind reconciled by the operator.
pub(crate) trait Reconciled: HasStatus {
    /// Deadline of a reconcile, so that no reconcile hangs on a node or on the API server.
    const DEADLINE: Duration;

    /// Reconciles the object, as just read. Returns the delay before the next reconcile.
    fn work(&self, ctx: &Context, progress: &Progress) -> impl Future<Output = Result<Duration, Error>> + Send;

    /// Returns the status after a reconcile without a report of its own: known facts stay, but no condition is
    /// reported as good.
    fn unfinished(&self, error: &Error, now: Timestamp) -> Self::Status;

    /// Forgets a deleted object, except for its failures and status writes, already forgotten by the caller.
    fn forget(ctx: &Context, namespace: &str, name: &str);
}

/// Reconciles an object within the deadline of its kind.
pub(crate) async fn run<K: Reconciled>(guarded: &Guarded<K>, ctx: &Context) -> Result<Action, Error> {
    run_within(guarded, ctx, K::DEADLINE).await
}

async fn run_within<K: Reconciled>(guarded: &Guarded<K>, ctx: &Context, within: Duration) -> Result<Action, Error> {
    let started = Instant::now();
    let progress = Progress::default();
    let result = tokio::time::timeout(within, Box::pin(read_and_work(guarded, ctx, &progress)))
        .await
        .unwrap_or_else(|_| Err(Error::Deadline { within, step: progress.step() }));
    if let Err(error) = &result {
        Box::pin(report_failure(guarded, ctx, &progress, error)).await;
    }
    let class = result.as_ref().err().map(|error| error.class().as_str());
    ctx.metrics.reconciled(&K::kind(&()), started.elapsed(), class);
    if result.is_ok() {
        ctx.backoffs.reset(guarded.meta().uid.as_deref().unwrap_or_default());
    }
    result
}

/// Forgets everything about a deleted object.
pub(crate) fn object_gone<K: Reconciled>(ctx: &Context, namespace: &str, name: &str, uid: Option<&str>) {
    if let Some(uid) = uid {
        ctx.gate.forget(uid);
        ctx.backoffs.reset(uid);
    }
    ctx.metrics.forget(&K::kind(&()), namespace, name, K::SUBJECT.types().iter().map(|type_| type_.as_str()));
    K::forget(ctx, namespace, name);
}

/// Schedules the retry after a failure, with the backoff of the object.
pub(crate) fn retry_after<K: Reconciled>(guarded: &Guarded<K>, error: &Error, ctx: &Context) -> Action {
    let uid = guarded.meta().uid.as_deref().unwrap_or_default();
    Action::requeue(ctx.backoffs.failed(uid, error.class(), clock::random_fraction()))
}

async fn read_and_work<K: Reconciled>(
    guarded: &Guarded<K>,
    ctx: &Context,
    progress: &Progress,
) -> Result<Action, Error> {
    let kind = K::kind(&());
    let (name, namespace) = (guarded.name_any(), guarded.namespace().unwrap_or_default());
    progress.at("waiting for the first list of every kind");
    ctx.caches.cache_sync.all_synced().await;
    if let Err(invalid) = &guarded.0 {
        progress.at("reporting that the object does not parse");
        publish::publish_invalid::<K>(ctx, &namespace, &name, invalid).await?;
        return Ok(Action::await_change());
    }
    progress.at(format!("reading the {kind}"));
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(object) = api.get_opt(&name).await.map_err(Error::api(format!("reading the {kind}")))? else {
        object_gone::<K>(ctx, &namespace, &name, guarded.meta().uid.as_deref());
        return Ok(Action::await_change());
    };
    match Box::pin(object.work(ctx, progress)).await {
        Ok(retry_after) => Ok(Action::requeue(retry_after)),
        Err(error) if error.class() == Class::NamespaceTerminating => Ok(Action::requeue(REQUEUE)),
        Err(error) => Err(error),
    }
}

/// Writes the missing report of a failed reconcile. A conflict is retried within a moment and not reported.
async fn report_failure<K: Reconciled>(guarded: &Guarded<K>, ctx: &Context, progress: &Progress, error: &Error) {
    if guarded.0.is_err() || error.class() == Class::Conflict {
        return;
    }
    let timed_out = matches!(error, Error::Deadline { .. });
    if progress.is_reported() && !timed_out {
        return;
    }
    let (name, namespace) = (guarded.name_any(), guarded.namespace().unwrap_or_default());
    let report = async {
        // Read again: the reconcile may have changed the object, and a status is compared with the newest status.
        let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
        let read = api.get_opt(&name).await.map_err(Error::api("reading the object for the report"))?;
        let Some(object) = read else { return Ok(()) };
        publish(ctx, &object, object.unfinished(error, clock::now())).await.map(drop)
    };
    match tokio::time::timeout(REPORT_WITHIN, report).await {
        Ok(Ok(())) => {}
        // The error of the reconcile itself is returned and counted.
        Ok(Err(error)) => tracing::warn!(%error, name, namespace, "cannot write the status after a failed reconcile"),
        Err(_) => tracing::warn!(name, namespace, "timed out writing the status after a failed reconcile"),
    }
}

#[cfg(test)]
mod tests;
