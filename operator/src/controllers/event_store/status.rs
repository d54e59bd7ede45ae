//! Status of an EventStore: a pure function of observation, plan and outcome.

use super::{
    act::Outcome,
    plan::{ClusterObservation, Next, Observation, Plan},
};
use crate::{
    error::{Class, Error},
    resources::{names, services::CLIENT_PORT},
};
use k8s_openapi::jiff::Timestamp;
use taffrail_crds::{
    ConditionType as T, EventStore, EventStoreStatus, Finding, PlanStep, Reason, Step,
    conditions::{Subject, settle, standing},
    event_store::ServiceType,
};
use taffrail_proto::{
    admin::{DeclareResult, StoreView},
    v1::{Store, StoreState},
};

const NO_LEADER: u64 = 0;

pub(super) fn status(
    store: &EventStore,
    observation: &Observation,
    plan: Plan,
    outcome: &Outcome,
    cluster_domain: &str,
    now: Timestamp,
) -> EventStoreStatus {
    let steps = steps(store, observation, plan, outcome, now);
    assemble(store, observation, plan, outcome, cluster_domain, steps, findings(store, observation, plan, outcome), now)
}

/// Returns the status of an object whose deletion waits for the end of a pause: the store stays in service and is
/// shown as observed.
pub(super) fn deletion_held(
    store: &EventStore,
    observation: &Observation,
    plan: Plan,
    step: Step,
    cluster_domain: &str,
    now: Timestamp,
) -> EventStoreStatus {
    let remedy = unpause(store);
    let outcome = Outcome::default();
    let mut findings = findings(store, observation, plan, &outcome);
    let message = format!("the deletion is held until {remedy}");
    findings.push(Finding::yes(T::Stalled, Reason::Paused, message));
    let name = store.metadata.name.clone().unwrap_or_default();
    let steps = vec![PlanStep::new(step, &name, Some(&remedy), now)];
    assemble(store, observation, plan, &outcome, cluster_domain, steps, findings, now)
}

#[expect(clippy::too_many_arguments, reason = "the parts of a reconcile, each of its own type")]
fn assemble(
    store: &EventStore,
    observation: &Observation,
    plan: Plan,
    outcome: &Outcome,
    cluster_domain: &str,
    steps: Vec<PlanStep>,
    findings: Vec<Finding>,
    now: Timestamp,
) -> EventStoreStatus {
    let old = store.status.clone().unwrap_or_default();
    let generation = store.metadata.generation;
    let view = observation.store.as_ref();
    let known = view.and_then(|view| view.store.as_ref());
    let declared = outcome.declared.as_ref().filter(|result| result.reason.is_empty()).map(|result| &result.store_id);
    let id = known.map(|store| &store.id).or(declared);
    // During a pause no Service is written, so the endpoint stays as before.
    let endpoint = if plan.paused { old.endpoint.clone() } else { Some(endpoint(store, outcome, cluster_domain)) };
    EventStoreStatus {
        observed_generation: generation,
        store_id: id
            .and_then(|id| id.parse().ok())
            .or_else(|| old.store_id.clone().filter(|_| observation.cluster != ClusterObservation::Known)),
        leader: known
            .filter(|_| observation.cluster == ClusterObservation::Known)
            .and_then(|known| name_of(observation, known.leader_node_id())),
        term: known.and_then(|known| i64::try_from(known.term()).ok()).filter(|term| *term > 0),
        voters: known.map_or_else(|| old.voters.clone(), |known| pods(observation, known, true)),
        learners: known.map_or_else(|| old.learners.clone(), |known| pods(observation, known, false)),
        endpoint,
        plan: taffrail_crds::plan::merge(&old.plan, steps),
        conditions: settle(Subject::EventStore, findings, &old.conditions, generation, now),
    }
}

/// Returns the status of an object whose deletion is in progress.
pub(super) fn deleting(store: &EventStore, step: Step, waiting_for: &str, now: Timestamp) -> EventStoreStatus {
    let old = store.status.clone().unwrap_or_default();
    let generation = store.metadata.generation;
    let steps = vec![PlanStep::new(step, &store.metadata.name.clone().unwrap_or_default(), Some(waiting_for), now)];
    let findings = vec![
        Finding::no(T::Ready, Reason::Deleting, "being deleted"),
        Finding::yes(T::Reconciling, Reason::Deleting, format!("waiting for {waiting_for}")),
    ];
    EventStoreStatus {
        observed_generation: generation,
        plan: taffrail_crds::plan::merge(&old.plan, steps),
        conditions: settle(Subject::EventStore, findings, &old.conditions, generation, now),
        ..old
    }
}

/// Returns the status after a reconcile that ended before its report: known facts stay, but no condition is
/// reported as good.
pub(super) fn unobserved(store: &EventStore, error: &Error, now: Timestamp) -> EventStoreStatus {
    let old = store.status.clone().unwrap_or_default();
    let generation = store.metadata.generation;
    let mut findings = standing(&old.conditions, generation);
    for type_ in [T::Ready, T::QuorumAvailable, T::FullyReplicated] {
        findings.push(Finding::unknown(type_, error.reason(), error.to_string()));
    }
    findings.push(error_finding(error));
    EventStoreStatus {
        observed_generation: generation,
        conditions: settle(Subject::EventStore, findings, &old.conditions, generation, now),
        ..old
    }
}

/// Returns pod names, sorted and without duplicates: during a replacement the old and the new node have the
/// same pod name.
fn pods(observation: &Observation, store: &Store, voters: bool) -> Vec<String> {
    let members = store.members.iter().filter(|member| member.voter() == voters);
    let mut pods: Vec<String> = members.filter_map(|member| name_of(observation, member.node_id)).collect();
    pods.sort();
    pods.dedup();
    pods
}

fn name_of(observation: &Observation, node_id: u64) -> Option<String> {
    observation.nodes.get(&node_id).filter(|_| node_id != NO_LEADER).cloned()
}

fn endpoint(store: &EventStore, outcome: &Outcome, domain: &str) -> String {
    let namespace = store.metadata.namespace.clone().unwrap_or_default();
    let own = store.spec.service.type_ != ServiceType::None && outcome.name_conflict.is_none();
    let service = if own {
        store.metadata.name.clone().unwrap_or_default()
    } else {
        names::clients(store.spec.cluster_ref.name.as_str())
    };
    format!("{service}.{namespace}.svc.{domain}:{CLIENT_PORT}")
}

fn steps(
    store: &EventStore,
    observation: &Observation,
    plan: Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> Vec<PlanStep> {
    let name = store.metadata.name.clone().unwrap_or_default();
    let step = |step, waiting: Option<&str>| vec![PlanStep::new(step, &name, waiting, now)];
    match (plan.next, &observation.store) {
        (Next::Declare | Next::Wait, _) if plan.paused => step(Step::DeclareStore, Some(&unpause(store))),
        (Next::NoCluster, _) => step(Step::DeclareStore, Some("the Cluster to be created")),
        (Next::Wait, _) => step(Step::DeclareStore, Some("the nodes of the Cluster to answer")),
        (Next::Declare, _) => {
            let refused = outcome.declared.as_ref().filter(|result| !result.reason.is_empty());
            step(Step::DeclareStore, refused.map(|result| result.message.as_str()))
        }
        // The data of a fenced replica waits for a person, and no step.
        (Next::Nothing, Some(view)) if view.fully_replicated && is_inconsistent(view) => Vec::new(),
        (Next::Nothing, Some(view)) if !view.waiting_for.is_empty() || !view.fully_replicated => {
            let members = view.store.as_ref().map_or(0, |store| store.members.len());
            let more = members > usize::try_from(store.spec.replicas).unwrap_or(0);
            let kind = if more { Step::RemoveReplica } else { Step::AddReplica };
            step(kind, Some(view.waiting_for.as_str()).filter(|text| !text.is_empty()))
        }
        (Next::Nothing, _) => Vec::new(),
    }
}

fn findings(store: &EventStore, observation: &Observation, plan: Plan, outcome: &Outcome) -> Vec<Finding> {
    let cluster = store.spec.cluster_ref.name.as_str();
    let mut all = match (plan.next, &observation.store) {
        (Next::NoCluster, _) => {
            let message = format!("Cluster {cluster} does not exist in this namespace; create it");
            vec![
                Finding::no(T::Ready, Reason::ClusterNotFound, message.clone()),
                Finding::yes(T::Stalled, Reason::ClusterNotFound, message),
            ]
        }
        (Next::Wait, _) => unreachable(cluster, observation.cluster),
        (Next::Declare | Next::Nothing, Some(view)) => health(store, view, outcome),
        (Next::Declare | Next::Nothing, None) => {
            vec![Finding::no(T::Ready, Reason::CreatingStore, "the store is being created")]
        }
    };
    if let Some(refused) = outcome.declared.as_ref().filter(|result| !result.reason.is_empty()) {
        all.extend(refusal(refused, observation.store.is_some()));
    } else if plan.next == Next::Declare && observation.store.is_none() && !plan.paused {
        all.push(Finding::yes(T::Reconciling, Reason::CreatingStore, "the store is being created"));
    }
    if let Some(taken) = &outcome.name_conflict {
        let message = format!(
            "{taken} exists and is not ours; rename or delete it, or set spec.service.type to None. Until then the store \
             is reached through Service {} with metadata taffrail-store",
            names::clients(cluster)
        );
        all.push(Finding::no(T::Ready, Reason::NameTaken, message.clone()));
        all.push(Finding::yes(T::Stalled, Reason::NameTaken, message));
    }
    if let Some(error) = &outcome.error {
        all.push(error_finding(error));
    }
    if plan.paused {
        all.extend(paused(store, observation, plan));
    }
    all
}

/// Returns the findings changed by a pause: no store is being created, and a foreign Service still has the name.
fn paused(store: &EventStore, observation: &Observation, plan: Plan) -> Vec<Finding> {
    let remedy = unpause(store);
    let mut all = vec![Finding::yes(T::Paused, Reason::Paused, format!("nothing is changed until {remedy}"))];
    match (plan.next, &observation.store) {
        (Next::Declare, None) => {
            all.push(Finding::no(T::Ready, Reason::Paused, format!("the store is not created until {remedy}")));
            all.push(Finding::no(T::Reconciling, Reason::AsExpected, ""));
        }
        (Next::Wait, _) => all.push(Finding::no(T::Reconciling, Reason::AsExpected, "")),
        (Next::NoCluster | Next::Declare | Next::Nothing, _) => {}
    }
    let old = store.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let taken = standing(old, store.metadata.generation).into_iter().find(|f| f.reason == Reason::NameTaken);
    if let Some(taken) = taken {
        all.push(Finding::no(T::Ready, Reason::NameTaken, taken.message.clone()));
        all.push(taken);
    }
    all
}

fn unreachable(cluster: &str, observation: ClusterObservation) -> Vec<Finding> {
    match observation {
        ClusterObservation::Unreachable => {
            let message = format!("no member of Cluster {cluster} answers; see the conditions of the Cluster");
            vec![
                Finding::unknown(T::Ready, Reason::NodeUnreachable, message.clone()),
                Finding::unknown(T::QuorumAvailable, Reason::NodeUnreachable, message.clone()),
                Finding::unknown(T::FullyReplicated, Reason::NodeUnreachable, message),
            ]
        }
        ClusterObservation::Missing | ClusterObservation::Unformed | ClusterObservation::Known => {
            let message = format!("Cluster {cluster} is not formed yet; see the conditions of the Cluster");
            vec![
                Finding::no(T::Ready, Reason::ClusterNotReady, message.clone()),
                Finding::yes(T::Reconciling, Reason::ClusterNotReady, message),
            ]
        }
    }
}

/// Converts the refusal of the coordinator into conditions. An existing store stays in service.
fn refusal(refused: &DeclareResult, exists: bool) -> Vec<Finding> {
    let reason = Reason::named(&refused.reason).unwrap_or(Reason::InvalidSpec);
    let message = format!("{}. {}", refused.message, reason.remedy());
    let mut all = Vec::new();
    if !exists {
        all.push(Finding::no(T::Ready, reason, message.clone()));
    }
    // The store of a former object with this name is about to be closed, so the refusal resolves itself.
    let stalled = reason != Reason::NameTaken;
    all.push(Finding::yes(if stalled { T::Stalled } else { T::Reconciling }, reason, message));
    all
}

fn health(store: &EventStore, view: &StoreView, outcome: &Outcome) -> Vec<Finding> {
    let Some(known) = &view.store else { return Vec::new() };
    let name = store.metadata.name.as_deref().unwrap_or_default();
    let led = known.leader_node_id() != NO_LEADER;
    let creating = known.state() == StoreState::Creating;
    let mut all = Vec::new();
    all.push(match (view.quorum, creating) {
        (true, _) => Finding::yes(T::QuorumAvailable, Reason::AsExpected, "a majority of the voters answers"),
        (false, true) => Finding::no(T::QuorumAvailable, Reason::CreatingStore, "the store is being created"),
        (false, false) => {
            Finding::no(T::QuorumAvailable, Reason::NoQuorum, "less than a majority of the voters answers")
        }
    });
    all.push(match (creating, view.quorum, led) {
        (true, ..) if !(view.quorum && led) => {
            Finding::no(T::Ready, Reason::CreatingStore, "the store is being created")
        }
        (_, false, _) => Finding::no(T::Ready, Reason::NoQuorum, "less than a majority of the voters answers"),
        (_, true, false) => Finding::no(T::Ready, Reason::NoLeader, format!("{name} has no leader yet")),
        (_, true, true) => Finding::yes(T::Ready, Reason::AsExpected, "clients are served"),
    });
    let waiting = if view.waiting_for.is_empty() { "replicas catch up".to_owned() } else { view.waiting_for.clone() };
    if view.fully_replicated {
        all.push(Finding::yes(T::FullyReplicated, Reason::AsExpected, format!("{} caught-up voters", known.replicas)));
    } else {
        all.push(Finding::no(T::FullyReplicated, Reason::UnderReplicated, waiting.clone()));
    }
    let voters = known.members.iter().filter(|member| member.voter()).count();
    let in_change = creating
        || known.members.iter().any(|member| !member.voter())
        || voters != usize::try_from(known.replicas).unwrap_or(0)
        || (outcome.declared.is_some() && i64::from(known.replicas) != i64::from(store.spec.replicas));
    if creating {
        all.push(Finding::yes(T::Reconciling, Reason::CreatingStore, "the store is being created"));
    } else if in_change {
        all.push(Finding::yes(T::Reconciling, Reason::ChangingReplicas, waiting.clone()));
    }
    if (!view.fully_replicated && !creating) || is_inconsistent(view) {
        all.push(Finding::yes(T::Degraded, Reason::named(&view.reason).unwrap_or(Reason::UnderReplicated), waiting));
    }
    all
}

/// True while a replica of the store contradicts others, or the data of a fenced replica waits for a person.
fn is_inconsistent(view: &StoreView) -> bool {
    Reason::named(&view.reason) == Some(Reason::ReplicaInconsistent)
}

fn error_finding(error: &Error) -> Finding {
    let type_ = if error.class() == Class::Lasting { T::Stalled } else { T::Reconciling };
    Finding::yes(type_, error.reason(), error.to_string())
}

/// Returns the event that ends a pause, as a phrase.
fn unpause(store: &EventStore) -> String {
    format!("spec.paused of Cluster {} is set to false", store.spec.cluster_ref.name.as_str())
}

#[cfg(test)]
mod tests;
