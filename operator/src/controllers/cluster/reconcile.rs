//! One pass: read, decide, act, report. The report is written on every path, the failing ones above all.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use taffrail_crds::conditions::Subject;
use taffrail_crds::{Cluster, ClusterStatus};
use tokio::time::Instant;

use super::act::{Actor, Outcome};
use super::plan::{Plan, plan};
use super::seen::{Recorded, Wish};
use super::{finalize, observe, status};
use crate::context::Context;
use crate::controllers::publish::{self, publish};
use crate::error::{Class, Error};
use crate::watch::Guarded;

const KIND: &str = "Cluster";
/// No pass may hang on a node or on the API server.
const DEADLINE: Duration = Duration::from_secs(60);
/// A safety net; triggers are the mechanism.
const REQUEUE: Duration = Duration::from_secs(420);
/// While something is waited for that may not trigger: a pod's events, a coordinator's second thought.
const UNSETTLED: Duration = Duration::from_secs(15);

/// Reconciles one Cluster.
///
/// # Errors
/// A read or a write failed; the status says so already.
pub async fn reconcile(cluster: Arc<Guarded<Cluster>>, ctx: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let uid = cluster.meta().uid.clone().unwrap_or_default();
    let pass = Box::pin(pass(&cluster, &ctx));
    let result = tokio::time::timeout(DEADLINE, pass).await.unwrap_or(Err(Error::Deadline(DEADLINE)));
    let class = result.as_ref().err().map(|error| error.class().as_str());
    ctx.metrics.reconciled(KIND, started.elapsed(), class);
    if result.is_ok() {
        ctx.backoffs.reset(&uid);
    }
    result
}

/// When to try again after a failure.
pub fn error_policy(cluster: Arc<Guarded<Cluster>>, error: &Error, ctx: Arc<Context>) -> Action {
    let uid = cluster.meta().uid.as_deref().unwrap_or_default();
    Action::requeue(ctx.backoffs.failed(uid, error.class(), rand::random()))
}

async fn pass(guarded: &Guarded<Cluster>, ctx: &Context) -> Result<Action, Error> {
    ctx.caches.filling.all().await;
    let (name, namespace) =
        (guarded.meta().name.clone().unwrap_or_default(), guarded.meta().namespace.clone().unwrap_or_default());
    if let Err(invalid) = &guarded.0 {
        publish::invalid::<Cluster>(ctx, &namespace, &name, invalid).await?;
        return Ok(Action::await_change());
    }
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(cluster) = api.get_opt(&name).await.map_err(Error::api("reading the Cluster"))? else {
        forget(ctx, &namespace, &name, guarded.meta().uid.as_deref().unwrap_or_default());
        return Ok(Action::await_change());
    };
    match Box::pin(work(ctx, &cluster)).await {
        Ok(again) => Ok(Action::requeue(again)),
        Err(error) if error.class() == Class::NamespaceTerminating => Ok(Action::requeue(REQUEUE)),
        Err(error) => Err(error),
    }
}

fn forget(ctx: &Context, namespace: &str, name: &str, uid: &str) {
    ctx.hub.forget(namespace, name);
    ctx.gate.forget(uid);
    ctx.backoffs.reset(uid);
    ctx.metrics.forget(KIND, namespace, name, Subject::Cluster.types().iter().map(|type_| type_.as_str()));
}

/// Returns when to look again.
async fn work(ctx: &Context, cluster: &Cluster) -> Result<Duration, Error> {
    let namespace = cluster.namespace().unwrap_or_default();
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let wish =
        Wish { name: cluster.name_any(), replicas: cluster.spec.replicas, paused: cluster.spec.paused, deleting };
    if deleting && !finalize::is_held(cluster) {
        // Others hold it; its objects go with it.
        return Ok(REQUEUE);
    }
    let has_stores = !ctx.caches.stores_of(&namespace, &wish.name).is_empty();
    if deleting && (!has_stores || finalize::namespace_terminating(ctx, &namespace).await?) {
        finalize::hold(ctx, cluster, false).await?;
        return Ok(REQUEUE);
    }
    if !deleting {
        finalize::hold(ctx, cluster, has_stores && !wish.paused).await?;
    }

    let old = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let observed = match observe::observe(ctx, cluster).await {
        Ok(observed) => observed,
        Err(error) => {
            let blind = status::blind(generation, &old, &error, Timestamp::now());
            report(ctx, cluster, blind).await;
            return Err(error);
        }
    };
    if let (Recorded::Identity(identity), false) = (&observed.seen.recorded, observed.members.is_empty()) {
        ctx.hub.follow(&namespace, &wish.name, &identity.cluster_id, observed.members.clone());
    }
    let now = Timestamp::now();
    let plan = plan(&wish, &observed.seen, now);
    let actor = Actor { ctx, cluster, observed: &observed };
    let outcome = if wish.paused { Outcome::default() } else { actor.act(&plan).await };
    let status = status::status(&wish, generation, &old, &observed.seen, &plan, &outcome, now);
    let held_back = publish(ctx, cluster, status).await;
    let again = next_look(&plan, &outcome);
    if let Some(error) = outcome.error {
        return Err(error);
    }
    Ok(held_back?.map_or(again, |wait| again.min(wait)))
}

fn next_look(plan: &Plan, outcome: &Outcome) -> Duration {
    let settled = plan.steps.is_empty() && plan.changing.is_none();
    let longest = if settled { REQUEUE.mul_f64(0.8 + 0.4 * rand::random::<f64>()) } else { UNSETTLED };
    [plan.recheck, outcome.recheck].into_iter().flatten().fold(longest, Duration::min)
}

/// A report beside an error that is about to be returned: that one counts.
async fn report(ctx: &Context, cluster: &Cluster, status: ClusterStatus) {
    if let Err(error) = publish(ctx, cluster, status).await {
        tracing::warn!(%error, "the status was not written");
    }
}
