//! The frame of a pass, the same for both kinds: wait for the caches, read the object live, let the kind do its work
//! within a deadline, and see to it that a report is written on every path, the failing ones above all.

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

/// A safety net; triggers are the mechanism.
pub(crate) const REQUEUE: Duration = Duration::from_secs(420);
/// Time of its own for the report of a pass that used up all it had.
const REPORT_WITHIN: Duration = Duration::from_secs(10);

/// Where a pass is, so that one which hangs can say in what.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: Mutex<String>,
    reported: AtomicBool,
}

impl Progress {
    /// The pass begins this step, a phrase such as "reading the pods".
    pub(crate) fn at(&self, step: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step.into();
    }

    /// The pass has written its own report.
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

/// A kind that the operator reconciles.
pub(crate) trait Reconciled: HasStatus {
    /// No pass may hang on a node or on the API server.
    const DEADLINE: Duration;

    /// One pass over the object, which was read just now. Returns when to look again.
    fn work(&self, ctx: &Context, progress: &Progress) -> impl Future<Output = Result<Duration, Error>> + Send;

    /// The status after a pass that ended before its own report: what was known stays, nothing is called good any more.
    fn unfinished(&self, error: &Error, now: Timestamp) -> Self::Status;

    /// The object is gone: drops what is remembered of it beside its failures and status writes.
    fn forget(ctx: &Context, namespace: &str, name: &str);
}

/// Reconciles one object.
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

/// The object is gone: drops all that is remembered of it.
pub(crate) fn object_gone<K: Reconciled>(ctx: &Context, namespace: &str, name: &str, uid: Option<&str>) {
    if let Some(uid) = uid {
        ctx.gate.forget(uid);
        ctx.backoffs.reset(uid);
    }
    ctx.metrics.forget(&K::kind(&()), namespace, name, K::SUBJECT.types().iter().map(|type_| type_.as_str()));
    K::forget(ctx, namespace, name);
}

/// When to try again after a failure.
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

/// The report of a pass that did not write its own. A conflict is looked at again within a moment and is no news.
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
        // Read again: the pass may have changed it, and a status is compared with the newest one.
        let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
        let read = api.get_opt(&name).await.map_err(Error::api("reading the object for the report"))?;
        let Some(object) = read else { return Ok(()) };
        publish(ctx, &object, object.unfinished(error, clock::now())).await.map(drop)
    };
    match tokio::time::timeout(REPORT_WITHIN, report).await {
        Ok(Ok(())) => {}
        // The pass's own error is the one that is returned and counted.
        Ok(Err(error)) => tracing::warn!(%error, name, namespace, "the status was not written"),
        Err(_) => tracing::warn!(name, namespace, "the status was not written in time"),
    }
}

#[cfg(test)]
mod tests;
