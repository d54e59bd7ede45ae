//! One pass: read, decide, act, report. The report is written on every path, the failing ones above all.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use taffrail_crds::conditions::Subject;
use taffrail_crds::event_store::DeletionPolicy;
use taffrail_crds::{EventStore, Step};
use tokio::time::Instant;

use super::plan::{Cleanup, Next, Plan, Wish, cleanup, plan};
use super::{act, observe, status};
use crate::context::Context;
use crate::controllers::cluster::finalize;
use crate::controllers::publish::{self, publish};
use crate::error::{Class, Error};
use crate::watch::Guarded;

const KIND: &str = "EventStore";
const DEADLINE: Duration = Duration::from_secs(30);
/// A safety net; triggers are the mechanism.
const REQUEUE: Duration = Duration::from_secs(420);
/// While the coordinator refuses, or the nodes do not answer.
const REFUSED: Duration = Duration::from_secs(30);
/// While a store is being closed.
const CLOSING: Duration = Duration::from_secs(1);

/// Reconciles one EventStore.
///
/// # Errors
/// A read or a write failed; the status says so already.
pub async fn reconcile(store: Arc<Guarded<EventStore>>, ctx: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let uid = store.meta().uid.clone().unwrap_or_default();
    let pass = Box::pin(pass(&store, &ctx));
    let result = tokio::time::timeout(DEADLINE, pass).await.unwrap_or(Err(Error::Deadline(DEADLINE)));
    let class = result.as_ref().err().map(|error| error.class().as_str());
    ctx.metrics.reconciled(KIND, started.elapsed(), class);
    if result.is_ok() {
        ctx.backoffs.reset(&uid);
    }
    result
}

/// When to try again after a failure.
pub fn error_policy(store: Arc<Guarded<EventStore>>, error: &Error, ctx: Arc<Context>) -> Action {
    let uid = store.meta().uid.as_deref().unwrap_or_default();
    Action::requeue(ctx.backoffs.failed(uid, error.class(), rand::random()))
}

async fn pass(guarded: &Guarded<EventStore>, ctx: &Context) -> Result<Action, Error> {
    ctx.caches.filling.all().await;
    let meta = guarded.meta();
    let (name, namespace) = (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
    if let Err(invalid) = &guarded.0 {
        publish::invalid::<EventStore>(ctx, &namespace, &name, invalid).await?;
        return Ok(Action::await_change());
    }
    let api: Api<EventStore> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(store) = api.get_opt(&name).await.map_err(Error::api("reading the EventStore"))? else {
        let uid = meta.uid.as_deref().unwrap_or_default();
        ctx.gate.forget(uid);
        ctx.backoffs.reset(uid);
        ctx.metrics.forget(KIND, &namespace, &name, Subject::EventStore.types().iter().map(|type_| type_.as_str()));
        return Ok(Action::await_change());
    };
    let wish = Wish {
        replicas: u32::try_from(store.spec.replicas).unwrap_or_default(),
        store_id: store.spec.store_id.as_ref().map(|id| id.as_str().to_owned()),
        policy: store.spec.deletion_policy,
        held: finalize::is_held(&store),
    };
    let result = if store.metadata.deletion_timestamp.is_some() {
        remove(ctx, &store, &wish).await
    } else {
        keep(ctx, &store, &wish).await
    };
    match result {
        Ok(again) => Ok(Action::requeue(again)),
        Err(error) if error.class() == Class::NamespaceTerminating => Ok(Action::requeue(REQUEUE)),
        Err(error) => Err(error),
    }
}

/// Returns when to look again.
async fn keep(ctx: &Context, store: &EventStore, wish: &Wish) -> Result<Duration, Error> {
    let seen = observe::observe(ctx, store);
    let mut plan = plan(wish, &seen);
    if paused(ctx, store) && plan.next == Next::Declare {
        plan.next = Next::Wait;
    }
    // Before anything is declared, so that no deletion can slip between.
    finalize::hold(ctx, store, plan.hold).await?;
    let outcome = act::act(ctx, store, plan.next).await;
    let status = status::status(store, &seen, plan, &outcome, &ctx.options.cluster_domain, Timestamp::now());
    let held_back = publish(ctx, store, status).await;
    if let Some(error) = outcome.error {
        return Err(error);
    }
    let refused = outcome.declared.is_some_and(|result| !result.reason.is_empty());
    let again = next_look(plan, refused || outcome.name_taken.is_some());
    Ok(held_back?.map_or(again, |wait| again.min(wait)))
}

/// A paused Cluster is only observed, its stores with it.
fn paused(ctx: &Context, store: &EventStore) -> bool {
    let namespace = store.namespace().unwrap_or_default();
    let cluster = crate::context::cached(&ctx.caches.clusters, &namespace, store.spec.cluster_ref.name.as_str());
    cluster.is_some_and(|cluster| cluster.0.as_ref().is_ok_and(|cluster| cluster.spec.paused))
}

fn next_look(plan: Plan, refused: bool) -> Duration {
    let jittered = REQUEUE.mul_f64(0.8 + 0.4 * rand::random::<f64>());
    if refused || plan.next != Next::Nothing { REFUSED } else { jittered }
}

async fn remove(ctx: &Context, store: &EventStore, wish: &Wish) -> Result<Duration, Error> {
    if !wish.held {
        // Its data is retained by the pass of the Cluster, which the deletion triggers.
        return Ok(REQUEUE);
    }
    let namespace = store.namespace().unwrap_or_default();
    let terminating = finalize::namespace_terminating(ctx, &namespace).await?;
    let seen = observe::observe(ctx, store);
    let waiting = match cleanup(wish, seen.cluster, terminating) {
        Cleanup::Release => None,
        Cleanup::Wait => Some("the nodes of the Cluster to answer".to_owned()),
        Cleanup::Ask(mode) => match act::close(ctx, store, mode).await {
            Ok(waiting) => waiting,
            Err(error) => {
                let status = status::deleting(store, step(wish), &error.to_string(), Timestamp::now());
                publish(ctx, store, status).await?;
                return Err(error);
            }
        },
    };
    let Some(waiting) = waiting else {
        finalize::hold(ctx, store, false).await?;
        return Ok(REQUEUE);
    };
    publish(ctx, store, status::deleting(store, step(wish), &waiting, Timestamp::now())).await?;
    Ok(CLOSING)
}

fn step(wish: &Wish) -> Step {
    match wish.policy {
        DeletionPolicy::Retain => Step::RetainStore,
        DeletionPolicy::Delete => Step::DeleteStore,
    }
}
