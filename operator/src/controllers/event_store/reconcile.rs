//! Reconcile of an EventStore: read, decide, act, report. [`reconcile_frame`] calls [`Reconciled::work`]
//! within a deadline.

use super::{
    act::{self, Outcome},
    observe,
    plan::{Cleanup, Next, Plan, Wish, cleanup, plan},
    status,
};
use crate::{
    clock,
    context::Context,
    controllers::{
        cluster::finalize,
        publish::publish,
        reconcile_frame::{self, Progress, REQUEUE, Reconciled},
    },
    error::Error,
    name_conflict::Waiter,
    watch::Guarded,
};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};
use std::{sync::Arc, time::Duration};
use taffrail_crds::{EventStore, EventStoreStatus, Step, event_store::DeletionPolicy};

/// Retry interval while the coordinator refuses or the nodes do not answer.
const REFUSED: Duration = Duration::from_secs(30);
/// Recheck interval while a store is being closed.
const CLOSING: Duration = Duration::from_secs(1);

/// Reconciles an EventStore within the deadline.
///
/// # Errors
/// A read or a write failed, or the reconcile exceeded its deadline; the status already reports the failure.
pub(crate) async fn reconcile(store: Arc<Guarded<EventStore>>, ctx: Arc<Context>) -> Result<Action, Error> {
    reconcile_frame::run(&store, &ctx).await
}

/// Schedules the retry after a failure.
pub(crate) fn error_policy(store: Arc<Guarded<EventStore>>, error: &Error, ctx: Arc<Context>) -> Action {
    reconcile_frame::retry_after(&store, error, &ctx)
}

impl Reconciled for EventStore {
    const DEADLINE: Duration = Duration::from_secs(30);

    async fn work(&self, ctx: &Context, progress: &Progress) -> Result<Duration, Error> {
        let wish = Wish {
            replicas: u32::try_from(self.spec.replicas).unwrap_or_default(),
            store_id: self.spec.store_id.as_ref().map(|id| id.as_str().to_owned()),
            policy: self.spec.deletion_policy,
            has_finalizer: finalize::has_finalizer(self),
            paused: observe::is_paused(ctx, self),
        };
        if self.metadata.deletion_timestamp.is_some() {
            remove(ctx, self, wish, progress).await
        } else {
            keep(ctx, self, &wish, progress).await
        }
    }

    fn unfinished(&self, error: &Error, now: Timestamp) -> EventStoreStatus {
        if self.metadata.deletion_timestamp.is_some() {
            status::deleting(self, step(self.spec.deletion_policy), &error.to_string(), now)
        } else {
            status::unobserved(self, error, now)
        }
    }

    fn forget(ctx: &Context, namespace: &str, name: &str) {
        ctx.conflict_watches.forget(&Waiter::event_store(namespace, name));
    }
}

/// Reconciles an object that is not being deleted. Returns the delay before the next reconcile.
async fn keep(ctx: &Context, store: &EventStore, wish: &Wish, progress: &Progress) -> Result<Duration, Error> {
    let observation = observe::observe(ctx, store);
    let plan = plan(wish, &observation);
    let outcome = if plan.paused {
        Outcome::default()
    } else {
        // Before the declaration, so that no deletion can slip in between.
        progress.at("changing the finalizers");
        finalize::set_finalizer(ctx, store, plan.needs_finalizer).await?;
        act::act(ctx, store, plan.next, progress).await
    };
    let status = status::status(store, &observation, plan, &outcome, &ctx.options.cluster_domain, clock::now());
    progress.at("writing the status");
    let held_back = publish(ctx, store, status).await;
    progress.reported();
    if let Some(error) = outcome.error {
        return Err(error);
    }
    let refused = outcome.declared.is_some_and(|result| !result.reason.is_empty());
    let waiter = Waiter::event_store(&store.namespace().unwrap_or_default(), &store.name_any());
    let unwatched = match &outcome.name_conflict {
        Some(conflict) => {
            !ctx.conflict_watches.watch(&waiter, &store.uid().unwrap_or_default(), std::slice::from_ref(conflict))
        }
        None => {
            ctx.conflict_watches.forget(&waiter);
            false
        }
    };
    let retry_after = requeue_after(plan, refused || unwatched);
    Ok(held_back?.map_or(retry_after, |wait| retry_after.min(wait)))
}

fn requeue_after(plan: Plan, refused: bool) -> Duration {
    let jittered = REQUEUE.mul_f64(0.8 + 0.4 * clock::random_fraction());
    if refused || plan.next != Next::Nothing { REFUSED } else { jittered }
}

/// Reconciles an object that is being deleted. Every fact that may release the object is read live.
async fn remove(ctx: &Context, store: &EventStore, mut wish: Wish, progress: &Progress) -> Result<Duration, Error> {
    if !wish.has_finalizer {
        // The reconcile of the Cluster, triggered by the deletion, retains the data.
        return Ok(REQUEUE);
    }
    let namespace = store.namespace().unwrap_or_default();
    progress.at("reading the Cluster for the deletion");
    let live = observe::read_cluster(ctx, store).await?;
    wish.paused = live.paused;
    let terminating = finalize::namespace_terminating(ctx, &namespace).await?;
    let waiting = match cleanup(&wish, live.cluster, terminating) {
        Cleanup::Held => return hold_deletion(ctx, store, &wish, progress).await,
        Cleanup::Release => None,
        Cleanup::Wait => Some(act::NO_ANSWER.to_owned()),
        Cleanup::Ask(mode) => {
            progress.at("closing the store on the nodes");
            act::close(ctx, store, mode, live.cluster_id.as_deref()).await?
        }
    };
    let Some(waiting) = waiting else {
        // The patch names the version read at the start: a policy changed in the meantime causes a conflict.
        progress.at("removing the finalizer");
        finalize::set_finalizer(ctx, store, false).await?;
        return Ok(REQUEUE);
    };
    progress.at("writing the status");
    let status = status::deleting(store, step(wish.policy), &waiting, clock::now());
    let published = publish(ctx, store, status).await;
    progress.reported();
    published?;
    Ok(CLOSING)
}

/// Holds a deletion during a pause: only the observed state is written, as a status. The end of the pause
/// triggers a reconcile.
async fn hold_deletion(ctx: &Context, store: &EventStore, wish: &Wish, progress: &Progress) -> Result<Duration, Error> {
    let observation = observe::observe(ctx, store);
    let plan = plan(wish, &observation);
    let status =
        status::deletion_held(store, &observation, plan, step(wish.policy), &ctx.options.cluster_domain, clock::now());
    progress.at("writing the status");
    let held_back = publish(ctx, store, status).await;
    progress.reported();
    Ok(held_back?.map_or(REFUSED, |wait| REFUSED.min(wait)))
}

fn step(policy: DeletionPolicy) -> Step {
    match policy {
        DeletionPolicy::Retain => Step::RetainStore,
        DeletionPolicy::Delete => Step::DeleteStore,
    }
}
