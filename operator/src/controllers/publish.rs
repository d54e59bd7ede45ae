//! Status writes: only a changed status is written, and condition changes at once. Volatile fields (leaders, terms) are
//! refreshed at most once a minute for an object and ten times a second for the operator.

use crate::{apply::STATUS_MANAGER, clock, context::Context, error::Error, owned::Owned};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    api::{Api, ApiResource, DynamicObject, Patch, PatchParams},
    core::error_boundary::InvalidObject,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use taffrail_crds::{
    Cluster, ClusterStatus, Condition, EventStore, EventStoreStatus, Finding, PlanStep, Reason,
    conditions::{ConditionStatus, ConditionType, Polarity, Subject, settle, standing},
};
use tokio::time::Instant;

/// Kind of object with a status.
pub(crate) trait HasStatus: Owned {
    /// Type of the status.
    type Status: Clone + Default + PartialEq + Serialize + Send + Sync;
    /// Selects the condition types of this kind.
    const SUBJECT: Subject;
    /// Returns the current status of the object.
    fn status(&self) -> Option<&Self::Status>;
    /// Returns the conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];
    /// Returns the status without volatile fields.
    fn strip_volatile(status: &Self::Status) -> Self::Status;
}

impl HasStatus for Cluster {
    type Status = ClusterStatus;
    const SUBJECT: Subject = Subject::Cluster;

    fn status(&self) -> Option<&ClusterStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &ClusterStatus) -> &[Condition] {
        &status.conditions
    }

    fn strip_volatile(status: &ClusterStatus) -> ClusterStatus {
        let mut stripped = status.clone();
        for member in &mut stripped.members {
            (member.groups, member.leaders) = (0, 0);
        }
        strip_volatile_texts(&mut stripped.conditions, &mut stripped.plan);
        stripped
    }
}

impl HasStatus for EventStore {
    type Status = EventStoreStatus;
    const SUBJECT: Subject = Subject::EventStore;

    fn status(&self) -> Option<&EventStoreStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &EventStoreStatus) -> &[Condition] {
        &status.conditions
    }

    fn strip_volatile(status: &EventStoreStatus) -> EventStoreStatus {
        let mut stripped = status.clone();
        (stripped.leader, stripped.term) = (None, None);
        strip_volatile_texts(&mut stripped.conditions, &mut stripped.plan);
        stripped
    }
}

/// Clears the texts of other systems that differ at every attempt (ports, times, backoffs) while the reason stays.
fn strip_volatile_texts(conditions: &mut [Condition], plan: &mut [PlanStep]) {
    const FLICKERING: [Reason; 7] = [
        Reason::ImagePullFailed,
        Reason::CrashLooping,
        Reason::Unschedulable,
        Reason::ApiUnavailable,
        Reason::DeadlineExceeded,
        Reason::NodeUnreachable,
        Reason::NoQuorum,
    ];
    for condition in conditions {
        if FLICKERING.iter().any(|reason| reason.as_str() == condition.reason) {
            condition.message.clear();
        }
    }
    for step in plan {
        step.waiting_for = None;
    }
}

/// Writes the status if it differs from the status of `object`, as read in this reconcile. Returns the delay before a
/// refresh that was held back.
///
/// # Errors
/// The API server fails.
pub(crate) async fn publish<K: HasStatus>(
    ctx: &Context,
    object: &K,
    status: K::Status,
) -> Result<Option<Duration>, Error> {
    let old = object.status().cloned().unwrap_or_default();
    let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
    let (namespace, uid) = (object.namespace().unwrap_or_default(), object.uid().unwrap_or_default());
    ctx.metrics.conditions(&kind, &namespace, &name, K::conditions(&status));
    if status == old {
        return Ok(None);
    }
    let is_refresh = K::strip_volatile(&status) == K::strip_volatile(&old);
    if is_refresh {
        let wait = ctx.gate.refresh(&uid, Instant::now());
        if !wait.is_zero() {
            return Ok(Some(wait));
        }
    }
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": kind,
        "metadata": {"name": name, "uid": uid},
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => {}
        // The object is gone, perhaps with a successor of the same name: nothing to report.
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => return Ok(None),
        Err(error) => return Err(Error::api(format!("writing the status of {kind} {name}"))(error)),
    }
    ctx.metrics.status_written(&kind);
    ctx.gate.wrote(&uid, Instant::now(), is_refresh);
    announce(ctx, object, K::conditions(&old), K::conditions(&status)).await;
    Ok(None)
}

/// Reports an object that does not parse: only a condition and an event on the object. The status is read and written
/// without the types, because the types refuse the object.
///
/// # Errors
/// The API server fails.
pub(crate) async fn publish_invalid<K: HasStatus>(
    ctx: &Context,
    namespace: &str,
    name: &str,
    why: &InvalidObject,
) -> Result<(), Error> {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let Some(live) = api.get_opt(name).await.map_err(Error::api("reading an object that does not parse"))? else {
        return Ok(());
    };
    let generation = live.metadata.generation;
    let old = live.data.get("status").cloned().unwrap_or_default();
    let paused = live.data.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or_default();
    let message = format!("the object does not parse: {}", why.error);
    let status = invalid_status(K::SUBJECT, &old, generation, paused, &message, clock::now());
    if status == old {
        return Ok(());
    }
    let kind = K::kind(&()).into_owned();
    let write = |status: Value| {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": kind,
            "metadata": {"name": name, "uid": live.metadata.uid},
            "status": status,
        });
        let api = api.clone();
        async move { api.patch_status(name, &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(&patch)).await }
    };
    let written = match write(status.clone()).await {
        // The schema refuses the old status itself, so only the generation and the conditions are written.
        Err(kube::Error::Api(answer)) if answer.is_invalid() => {
            write(json!({"observedGeneration": generation, "conditions": status["conditions"]})).await
        }
        written => written,
    };
    match written {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => return Ok(()),
        Err(error) => return Err(Error::api(format!("writing the status of {kind} {name}"))(error)),
    }
    ctx.metrics.status_written(&kind);
    let about = live.object_ref(&resource);
    ctx.events.warning(&about, Reason::InvalidSpec.as_str(), "Parse", &message).await;
    Ok(())
}

/// Builds the status of an object that does not parse, as raw JSON. All results of an earlier reconcile stay,
/// since nothing was undone and an apply without a field would remove the field. Only the conditions and the
/// generation are new.
fn invalid_status(
    subject: Subject,
    old: &Value,
    generation: Option<i64>,
    paused: bool,
    message: &str,
    now: Timestamp,
) -> Value {
    let before: Vec<Condition> =
        old.get("conditions").cloned().and_then(|all| serde_json::from_value(all).ok()).unwrap_or_default();
    let mut findings = standing(&before, generation);
    if paused {
        findings.push(Finding::yes(ConditionType::Paused, Reason::Paused, "spec.paused is set"));
    }
    findings.extend([
        Finding::unknown(ConditionType::Ready, Reason::InvalidSpec, message),
        Finding::yes(ConditionType::Stalled, Reason::InvalidSpec, message),
    ]);
    let conditions = settle(subject, findings, &before, generation, now);
    let mut status = old.as_object().cloned().unwrap_or_default();
    status.insert("observedGeneration".to_owned(), json!(generation));
    status.insert("conditions".to_owned(), json!(conditions));
    Value::Object(status)
}

/// Publishes events for conditions that turned good or bad.
async fn announce<K: HasStatus>(ctx: &Context, object: &K, old: &[Condition], new: &[Condition]) {
    let about = object.object_ref(&());
    let mut announced: Vec<String> = Vec::new();
    for type_ in [ConditionType::Stalled, ConditionType::Ready, ConditionType::Degraded] {
        let find = |all: &[Condition]| taffrail_crds::conditions::find(all, type_).cloned();
        let (before, Some(now)) = (find(old), find(new)) else {
            continue;
        };
        let same = before.as_ref().is_some_and(|b| (b.status, &b.reason) == (now.status, &now.reason));
        let good = match type_.polarity() {
            Polarity::TrueIsGood => ConditionStatus::True,
            Polarity::TrueIsNotable => ConditionStatus::False,
        };
        // A condition that was never bad is no news when good, and an unknown condition is no news either.
        let is_no_news = now.status == ConditionStatus::Unknown
            || (before.is_none() && now.status == good && type_ != ConditionType::Ready);
        if same || is_no_news || (now.status != good && announced.contains(&now.reason)) {
            continue;
        }
        if now.status == good {
            let reason = if type_ == ConditionType::Ready { "Ready" } else { "Recovered" };
            let note = format!("{type_}: {}", now.message);
            ctx.events.normal(&about, reason, type_.as_str(), &note).await;
        } else if PASSING.iter().any(|reason| reason.as_str() == now.reason) {
            ctx.events.normal(&about, &now.reason, type_.as_str(), &now.message).await;
        } else {
            ctx.events.warning(&about, &now.reason, type_.as_str(), &now.message).await;
        }
        announced.push(now.reason);
    }
}

/// Reasons of the normal phases of startup and deletion.
const PASSING: [Reason; 5] =
    [Reason::Bootstrapping, Reason::ClusterNotReady, Reason::CreatingStore, Reason::PodsNotReady, Reason::Deleting];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_does_not_parse_keeps_what_was_found_and_loses_only_its_good_name() {
        let now = Timestamp::from_second(50).expect("a valid time");
        let findings = vec![
            Finding::yes(ConditionType::Ready, Reason::AsExpected, ""),
            Finding::yes(ConditionType::Degraded, Reason::NodeLost, "main-2"),
        ];
        let old = json!({
            "observedGeneration": 1, "clusterId": "c", "replicas": 3, "members": [{"name": "main-0", "nodeId": 1}],
            "plan": [{"step": "AddNode", "target": "main-3", "since": "1970-01-01T00:00:01Z"}], "later": {"field": 1},
            "conditions": settle(Subject::Cluster, findings, &[], Some(1), now),
        });
        let new = invalid_status(Subject::Cluster, &old, Some(2), true, "spec.x: nonsense", now);
        for field in ["clusterId", "replicas", "members", "plan", "later"] {
            assert_eq!(new[field], old[field], "{field}");
        }
        assert_eq!(new["observedGeneration"], 2);
        let conditions: Vec<Condition> = serde_json::from_value(new["conditions"].clone()).expect("conditions");
        let status = |type_| taffrail_crds::conditions::find(&conditions, type_).map(|found| found.status);
        assert_eq!(status(ConditionType::Ready), Some(ConditionStatus::Unknown));
        assert_eq!(status(ConditionType::Stable), Some(ConditionStatus::False));
        for type_ in [ConditionType::Stalled, ConditionType::Degraded, ConditionType::Paused] {
            assert_eq!(status(type_), Some(ConditionStatus::True), "{type_}");
        }
        let again = invalid_status(Subject::Cluster, &new, Some(2), true, "spec.x: nonsense", now);
        assert_eq!(again, new, "nothing to write the second time");
    }
}
