//! Reconcile of a Cluster: read, decide, act, report. [`reconcile_frame`] calls [`Reconciled::work`] within a deadline.

use super::{
    act::{Actor, Outcome},
    finalize::{self, FinalizerDecision},
    observation::{Recorded, Wish},
    observe,
    plan::{Plan, plan},
    status,
};
use crate::{
    clock,
    context::Context,
    controllers::{
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
use taffrail_crds::{Cluster, ClusterStatus};

/// Recheck interval while the awaited change may have no trigger, such as a pod's events or a new decision
/// of the coordinator.
const UNSETTLED: Duration = Duration::from_secs(15);

/// Reconciles a Cluster within the deadline.
///
/// # Errors
/// A read or a write failed, or the reconcile exceeded its deadline; the status already reports the failure.
pub(crate) async fn reconcile(cluster: Arc<Guarded<Cluster>>, ctx: Arc<Context>) -> Result<Action, Error> {
    reconcile_frame::run(&cluster, &ctx).await
}

/// Schedules the retry after a failure.
pub(crate) fn error_policy(cluster: Arc<Guarded<Cluster>>, error: &Error, ctx: Arc<Context>) -> Action {
    reconcile_frame::retry_after(&cluster, error, &ctx)
}

impl Reconciled for Cluster {
    const DEADLINE: Duration = Duration::from_secs(60);

    async fn work(&self, ctx: &Context, progress: &Progress) -> Result<Duration, Error> {
        work(ctx, self, progress).await
    }

    fn unfinished(&self, error: &Error, now: Timestamp) -> ClusterStatus {
        let old = self.status.clone().unwrap_or_default();
        status::unobserved(self.metadata.generation, self.spec.paused, &old, error, now)
    }

    fn forget(ctx: &Context, namespace: &str, name: &str) {
        ctx.cluster_views.forget(namespace, name);
        ctx.conflict_watches.forget(&Waiter::cluster(namespace, name));
    }
}

async fn work(ctx: &Context, cluster: &Cluster, progress: &Progress) -> Result<Duration, Error> {
    let namespace = cluster.namespace().unwrap_or_default();
    let wish = Wish {
        name: cluster.name_any(),
        replicas: cluster.spec.replicas,
        paused: cluster.spec.paused,
        deleting: cluster.metadata.deletion_timestamp.is_some(),
    };
    progress.at("deciding about the finalizer");
    match finalizer(ctx, cluster, &namespace, &wish).await? {
        // Held by foreign finalizers; the objects of the Cluster are deleted with the Cluster.
        FinalizerDecision::Ignore => return Ok(REQUEUE),
        FinalizerDecision::Release => {
            progress.at("removing the finalizer");
            finalize::set_finalizer(ctx, cluster, false).await?;
            return Ok(REQUEUE);
        }
        FinalizerDecision::Continue(None) => {}
        FinalizerDecision::Continue(Some(wanted)) => {
            progress.at("changing the finalizers");
            finalize::set_finalizer(ctx, cluster, wanted).await?;
        }
    }

    let old = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    progress.at("reading the StatefulSet, the pods and what the nodes say");
    let input = observe::observe(ctx, cluster).await?;
    if let (Recorded::Identity(identity), false) = (&input.observation.recorded, input.members.is_empty()) {
        ctx.cluster_views.follow(&namespace, &wish.name, &identity.cluster_id, input.members.clone());
    }
    let now = clock::now();
    let plan = plan(&wish, &input.observation, now);
    let actor = Actor { ctx, cluster, input: &input, progress };
    let outcome = if wish.paused { Outcome::default() } else { actor.act(&plan).await };
    let waiter = Waiter::cluster(&namespace, &wish.name);
    if let Some(Error::NameConflict { conflicts }) = &outcome.error {
        // Without a watch, the backoff of the failed reconcile retries.
        let _watched = ctx.conflict_watches.watch(&waiter, &cluster.uid().unwrap_or_default(), conflicts);
    } else {
        ctx.conflict_watches.forget(&waiter);
    }
    let status = status::status(&wish, generation, &old, &input.observation, &plan, &outcome, now);
    progress.at("writing the status");
    let held_back = publish(ctx, cluster, status).await;
    progress.reported();
    let retry_after = requeue_after(&wish, &plan, &outcome);
    if let Some(error) = outcome.error {
        return Err(error);
    }
    Ok(held_back?.map_or(retry_after, |wait| retry_after.min(wait)))
}

async fn finalizer(ctx: &Context, cluster: &Cluster, namespace: &str, wish: &Wish) -> Result<FinalizerDecision, Error> {
    let held = finalize::has_finalizer(cluster);
    let known = !ctx.caches.stores_of(namespace, &wish.name).is_empty();
    let leaving = wish.deleting && held;
    // A release relies on a live list, even before any deletion: a cache that is behind would take the nodes from a
    // store in need of them.
    let has_stores = known || (held && !wish.paused && finalize::has_stores(ctx, namespace, &wish.name).await?);
    let terminating = leaving && finalize::namespace_terminating(ctx, namespace).await?;
    Ok(finalize::decide(wish, held, has_stores, terminating))
}

fn requeue_after(wish: &Wish, plan: &Plan, outcome: &Outcome) -> Duration {
    // A held deletion also waits for the end of a namespace, and no watch reports the end.
    let settled = plan.steps.is_empty() && plan.changing.is_none() && !wish.deleting;
    let longest = if settled { REQUEUE.mul_f64(0.8 + 0.4 * clock::random_fraction()) } else { UNSETTLED };
    [plan.recheck, outcome.recheck].into_iter().flatten().fold(longest, Duration::min)
}
