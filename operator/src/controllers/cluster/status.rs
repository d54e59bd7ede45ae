//! Status of a Cluster: a pure function of observation, plan and outcome. Every list is sorted and no text counts
//! seconds, so that nothing is written when nothing changes.

use super::{
    act::{self, Outcome},
    node_view,
    observation::{NodeObservation, Observation, PodObservation, PodProblem, Recorded, Wish},
    plan::Plan,
};
use crate::{
    error::{Class, Error},
    resources::{labels, names, stateful_set},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use std::collections::BTreeSet;
use taffrail_crds::{
    ClusterStatus, ConditionType as T, Finding, PlanStep, Reason, Step,
    cluster::{Member, MemberRole, RetainedStore, RetainedStores},
    conditions::{ConditionStatus, Subject, settle, standing},
};
use taffrail_proto::{
    admin::{ClusterView, FenceCause, Lifecycle, NodeStatus},
    v1::{NodeState, ProblemKind, StoreState},
};

const RETAINED_MAX: usize = 20;

/// Returns the status after a reconcile has acted.
pub(super) fn status(
    wish: &Wish,
    generation: Option<i64>,
    old: &ClusterStatus,
    observation: &Observation,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> ClusterStatus {
    let ready = ready_pods(observation, i32::MAX);
    let version = act::version(observation).or_else(|| old.version.clone());
    ClusterStatus {
        observed_generation: generation,
        cluster_id: match &observation.recorded {
            Recorded::Identity(identity) => identity.cluster_id.parse().ok(),
            Recorded::Nowhere | Recorded::Annotations(_) | Recorded::Conflict(..) => None,
        },
        replicas: count(observation.pods.len()),
        ready_replicas: ready,
        ready: Some(format!("{ready}/{}", wish.replicas)),
        selector: Some(labels::selector_text(&wish.name)),
        version,
        template_version: Some(stateful_set::TEMPLATE_VERSION),
        stores: stores(observation.view.as_ref()).unwrap_or(old.stores),
        members: members(observation),
        retained_stores: match &observation.view {
            Some(view) => retained(view),
            None => old.retained_stores.clone(),
        },
        plan: steps(old, plan, outcome, now),
        conditions: settle(
            Subject::Cluster,
            findings(wish, observation, plan, outcome),
            &old.conditions,
            generation,
            now,
        ),
    }
}

/// Returns the status after a reconcile without a report of its own: known facts stay, but no condition is
/// reported as good.
pub(super) fn unobserved(
    generation: Option<i64>,
    paused: bool,
    old: &ClusterStatus,
    error: &Error,
    now: Timestamp,
) -> ClusterStatus {
    let message = error.to_string();
    let mut findings = standing(&old.conditions, generation);
    findings.extend(paused.then(is_paused));
    findings.extend([
        Finding::unknown(T::Ready, error.reason(), message.clone()),
        Finding::unknown(T::QuorumAvailable, error.reason(), message.clone()),
        Finding::unknown(T::CoordinatorAvailable, error.reason(), message.clone()),
        Finding::unknown(T::ClocksDiffer, error.reason(), message.clone()),
        error_finding(error, message),
    ]);
    ClusterStatus {
        observed_generation: generation,
        conditions: settle(Subject::Cluster, findings, &old.conditions, generation, now),
        ..old.clone()
    }
}

fn stores(view: Option<&ClusterView>) -> Option<i32> {
    let stores = view?.stores.iter().filter_map(|view| view.store.as_ref());
    Some(count(stores.filter(|store| matches!(store.state(), StoreState::Creating | StoreState::Active)).count()))
}

fn members(observation: &Observation) -> Vec<Member> {
    let mut members: Vec<Member> = observation.pods.values().map(|pod| member(observation, pod)).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

fn member(observation: &Observation, pod: &PodObservation) -> Member {
    let view = observation.node_of(pod);
    let node = view.and_then(|view| view.node.as_ref());
    let fenced = pod.node_status().is_some_and(|node| node.lifecycle() == Lifecycle::Fenced);
    let role = match (view.map(node_view::state), node) {
        _ if fenced => Some(MemberRole::Fenced),
        (Some(NodeState::Draining), _) => Some(MemberRole::Draining),
        (_, Some(node)) if node.system_voter => Some(MemberRole::Voter),
        (_, Some(_)) => Some(MemberRole::Learner),
        (_, None) => None,
    };
    Member {
        name: pod.name.clone(),
        disk_id: pod.node_status().and_then(|node| node.disk_id.parse().ok()),
        node_id: node.and_then(|node| i64::try_from(node.node_id).ok()).filter(|id| *id > 0),
        role,
        address: node.map(|node| node.peer_address.clone()).filter(|address| !address.is_empty()),
        groups: node.map_or(0, |node| i32::try_from(node.group_count).unwrap_or(i32::MAX)),
        leaders: node.map_or(0, |node| i32::try_from(node.leader_count()).unwrap_or(i32::MAX)),
    }
}

fn retained(view: &ClusterView) -> Option<RetainedStores> {
    let kept = view.stores.iter().filter_map(|view| Some((view.store.as_ref()?, view.retained_at_us)));
    let mut kept: Vec<_> = kept.filter(|(store, _)| store.state() == StoreState::Retained).collect();
    if kept.is_empty() {
        return None;
    }
    kept.sort_by(|(a, at), (b, bt)| bt.cmp(at).then_with(|| a.id.cmp(&b.id)));
    let newest = kept.iter().filter_map(|(store, at)| {
        Some(RetainedStore {
            store_id: store.id.parse().ok()?,
            namespace: store.namespace.clone(),
            name: store.name.parse().ok()?,
            events: None,
            retained_at: (*at > 0).then(|| Timestamp::from_second(*at / 1_000_000).ok()).flatten().map(Time),
        })
    });
    Some(RetainedStores { count: count(kept.len()), newest: newest.take(RETAINED_MAX).collect() })
}

fn steps(old: &ClusterStatus, plan: &Plan, outcome: &Outcome, now: Timestamp) -> Vec<PlanStep> {
    let steps = plan.steps.iter().map(|planned| {
        // An answer of the node or of the API server is newer than the plan.
        let answered = match planned.step {
            Step::RestartPod | Step::ReplaceNode => outcome.waiting.as_deref(),
            Step::DrainNode => outcome.blocked.as_deref().or(outcome.waiting.as_deref()),
            Step::ApplyObject
            | Step::WaitForPods
            | Step::Bootstrap
            | Step::AdoptVolumes
            | Step::AddNode
            | Step::RemoveNode
            | Step::DeclareStore
            | Step::AddReplica
            | Step::RemoveReplica
            | Step::RetainStore
            | Step::DeleteStore => None,
        };
        PlanStep::new(planned.step, &planned.target, planned.waiting_for.as_deref().or(answered), now)
    });
    taffrail_crds::plan::merge(&old.plan, steps.collect())
}

fn findings(wish: &Wish, observation: &Observation, plan: &Plan, outcome: &Outcome) -> Vec<Finding> {
    let blocked = first_problem(wish, observation, plan.size);
    let mut all = health(wish, observation, plan, blocked.as_ref());
    let stalled = plan.stalled.clone().or_else(|| outcome.blocked.clone().map(|why| (Reason::ScaleDownBlocked, why)));
    if wish.paused {
        all.push(is_paused());
    }
    if wish.deleting && wish.paused {
        let message = "the deletion is held while spec.paused is set; set it to false to continue";
        all.push(Finding::yes(T::Stalled, Reason::Paused, message));
    } else if wish.deleting {
        let names: Vec<&str> = observation.stores.iter().map(|store| store.name.as_str()).collect();
        let message = format!("waiting for the deletion of the EventStores {}", names.join(", "));
        all.push(Finding::yes(T::Reconciling, Reason::Deleting, message));
    } else if let Some((reason, message)) = stalled {
        all.push(Finding::yes(T::Stalled, reason, message));
    } else if let Some((reason, message)) = plan.changing.clone() {
        // The obstacle to a change says more than the change.
        let (reason, message) = match &blocked {
            Some(blocked) => (blocked.reason, blocked.message.clone()),
            None => (reason, message),
        };
        all.push(Finding::yes(T::Reconciling, reason, message));
    }
    if let Some(error) = &outcome.error {
        all.extend(failure(error, &all));
    }
    all.extend(degraded(wish, observation, plan, blocked));
    all
}

/// Returns the findings for a failed write. A permanent error also becomes the reason of Ready, unless clients
/// are still served.
fn failure(error: &Error, said: &[Finding]) -> Vec<Finding> {
    let message = error.to_string();
    let mut all = vec![error_finding(error, message.clone())];
    if error.class() == Class::Lasting {
        all.push(Finding::no(T::Reconciling, Reason::AsExpected, ""));
        if said.iter().any(|finding| finding.type_ == T::Ready && finding.status != ConditionStatus::True) {
            all.push(Finding::no(T::Ready, error.reason(), message));
        }
    }
    all
}

fn degraded(wish: &Wish, observation: &Observation, plan: &Plan, blocked: Option<PodProblem>) -> Option<Finding> {
    if !plan.formed {
        return None;
    }
    if let Some((reason, message)) = plan.degraded.clone() {
        return Some(Finding::yes(T::Degraded, reason, message));
    }
    let (ready, size) = (ready_pods(observation, plan.size), plan.size);
    if ready < size {
        let message = match &blocked {
            Some(blocked) => format!("{ready} of {size} pods are ready: {}", blocked.message),
            None => format!("{ready} of {size} pods are ready"),
        };
        return Some(Finding::yes(T::Degraded, blocked.map_or(Reason::PodsNotReady, |b| b.reason), message));
    }
    // A pod without an answer in this reconcile has no known disk, but its name may still be in the catalogue.
    let is_known = |pod: &PodObservation| {
        observation.node_of(pod).is_some()
            || (pod.node_status().is_none() && observation.nodes_named(&pod.name).next().is_some())
    };
    let known: BTreeSet<i32> = observation.pods.iter().filter(|(_, pod)| is_known(pod)).map(|(n, _)| *n).collect();
    let missing = (0..size).find(|ordinal| observation.view.is_some() && !known.contains(ordinal));
    missing.map(|ordinal| {
        Finding::yes(T::Degraded, Reason::NodeLost, format!("{} is not a member yet", wish.pod(ordinal)))
    })
}

fn health(wish: &Wish, observation: &Observation, plan: &Plan, blocked: Option<&PodProblem>) -> Vec<Finding> {
    if !plan.formed {
        let (reason, message) = match (&plan.stalled, blocked) {
            (Some((reason, message)), _) => (*reason, message.clone()),
            (None, Some(blocked)) => (blocked.reason, blocked.message.clone()),
            (None, None) if wish.paused => (Reason::Paused, "not formed, and spec.paused is set".to_owned()),
            (None, None) => {
                plan.changing.clone().unwrap_or_else(|| (Reason::Bootstrapping, "not formed yet".to_owned()))
            }
        };
        let no = |type_| Finding::no(type_, Reason::Bootstrapping, "not formed yet");
        return vec![Finding::no(T::Ready, reason, message), no(T::QuorumAvailable), no(T::CoordinatorAvailable)];
    }
    let Some(view) = &observation.view else {
        let why = observation.view_error.clone().unwrap_or_default();
        let (reason, message) = match (&plan.stalled, blocked) {
            (Some((reason, message)), _) => (*reason, message.clone()),
            (None, Some(blocked)) => (blocked.reason, blocked.message.clone()),
            (None, None) => (Reason::NoQuorum, format!("no node sent a view of the cluster: {why}")),
        };
        return vec![
            Finding::no(T::Ready, reason, message),
            Finding::no(T::QuorumAvailable, Reason::NoQuorum, why.clone()),
            Finding::no(T::CoordinatorAvailable, Reason::NoLeader, why.clone()),
            Finding::unknown(T::ClocksDiffer, Reason::NoLeader, why),
        ];
    };
    // The view was taken after a read index, so the system group has its majority.
    let led = view.status.as_ref().is_some_and(|status| status.coordinator_node_id.is_some());
    let mut all = vec![Finding::yes(T::QuorumAvailable, Reason::AsExpected, "the system group has its majority")];
    all.push(if led {
        Finding::yes(T::CoordinatorAvailable, Reason::AsExpected, "the coordinator answers")
    } else {
        Finding::no(T::CoordinatorAvailable, Reason::NoLeader, "the system group has no leader")
    });
    let ready = ready_pods(observation, i32::MAX);
    all.push(if ready > 0 {
        Finding::yes(T::Ready, Reason::AsExpected, served(wish.replicas))
    } else {
        let service = names::clients(&wish.name);
        let message = blocked.map_or_else(|| format!("no ready pod behind Service {service}"), |b| b.message.clone());
        Finding::no(T::Ready, blocked.map_or(Reason::NoEndpoint, |b| b.reason), message)
    });
    all.push(clocks_differ(view));
    all
}

/// Returns the finding about the clocks of the nodes. The coordinator compares the clocks, and the sentences of its problems
/// name each node and the difference.
fn clocks_differ(view: &ClusterView) -> Finding {
    let problems = view.status.iter().flat_map(|status| &status.problems);
    let differ = problems.filter(|problem| problem.kind() == ProblemKind::ClockDiffers);
    let messages: Vec<&str> = differ.map(|problem| problem.message.as_str()).collect();
    if messages.is_empty() {
        return Finding::no(T::ClocksDiffer, Reason::AsExpected, "the clocks of the nodes agree");
    }
    Finding::yes(T::ClocksDiffer, Reason::ClockSkew, messages.join("; "))
}

/// Message of a Ready Cluster. Below three nodes every node is needed for a majority, and no disruption budget can hold
/// up a drain.
const fn served(replicas: i32) -> &'static str {
    if replicas < 3 {
        "clients are served; with fewer than three nodes, draining or restarting one interrupts writes"
    } else {
        "clients are served"
    }
}

/// Returns the first pod that does not run, with the obstacle.
fn first_problem(wish: &Wish, observation: &Observation, size: i32) -> Option<PodProblem> {
    (0..size).find_map(|ordinal| match observation.pods.get(&ordinal) {
        None => observation.creation.clone(),
        Some(pod) => pod.problem.clone().or_else(|| match &pod.node {
            NodeObservation::Status(node) if node.lifecycle() == Lifecycle::Fenced => {
                Some(fence_problem(&wish.pod(ordinal), node))
            }
            NodeObservation::Silent(why) if pod.running && pod.ready => {
                Some(PodProblem { reason: Reason::NodeUnreachable, message: why.clone() })
            }
            NodeObservation::Status(_) | NodeObservation::Silent(_) => None,
        }),
    })
}

/// Returns the problem of a pod whose node is fenced.
fn fence_problem(pod: &str, node: &NodeStatus) -> PodProblem {
    let reason = match node.fence_cause() {
        FenceCause::IdentityReverted => Reason::IdentityReverted,
        FenceCause::Removed | FenceCause::Unspecified => Reason::NodeLost,
    };
    PodProblem { reason, message: format!("{pod} is fenced: {}", node.fence_reason) }
}

fn is_paused() -> Finding {
    Finding::yes(T::Paused, Reason::Paused, "spec.paused is set; the operator only observes")
}

fn error_finding(error: &Error, message: String) -> Finding {
    match error.class() {
        Class::Lasting => Finding::yes(T::Stalled, error.reason(), message),
        Class::Conflict | Class::Transient | Class::NamespaceTerminating => {
            Finding::yes(T::Reconciling, error.reason(), message)
        }
    }
}

fn ready_pods(observation: &Observation, below: i32) -> i32 {
    count(observation.pods.range(..below).filter(|(_, pod)| pod.ready && !pod.terminating).count())
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::v1::{ClusterStatus, Problem};

    #[test]
    fn the_condition_of_a_fenced_node_follows_the_cause_and_not_the_text() {
        let of = |cause: FenceCause| {
            let node = NodeStatus {
                lifecycle: Lifecycle::Fenced.into(),
                fence_reason: "reverted by a person".into(),
                fence_cause: cause.into(),
                ..NodeStatus::default()
            };
            fence_problem("main-1", &node)
        };
        assert_eq!(of(FenceCause::IdentityReverted).reason, Reason::IdentityReverted);
        assert_eq!(of(FenceCause::Removed).reason, Reason::NodeLost);
        assert_eq!(of(FenceCause::Removed).message, "main-1 is fenced: reverted by a person");
    }

    fn health_with(view: Option<ClusterView>) -> Finding {
        let wish = Wish { name: "main".to_owned(), replicas: 3, paused: false, deleting: false };
        let observation = Observation { view, ..Observation::default() };
        let plan = Plan { formed: true, size: 3, ..Plan::default() };
        let all = health(&wish, &observation, &plan, None);
        all.into_iter().rfind(|finding| finding.type_ == T::ClocksDiffer).expect("a finding about clocks")
    }

    #[test]
    fn clocks_differ_while_the_coordinator_reports_a_clock_and_no_other_kind_of_problem() {
        let problem = |kind: ProblemKind, message: &str| Problem {
            reason: "ClockSkew".to_owned(),
            message: message.to_owned(),
            kind: kind.into(),
            node_id: Some(2),
        };
        let with = |problems| {
            let status = ClusterStatus { problems, ..ClusterStatus::default() };
            health_with(Some(ClusterView { status: Some(status), ..ClusterView::default() }))
        };
        let others = vec![problem(ProblemKind::StoreAhead, "store a"), problem(ProblemKind::Waiting, "node 2 drains")];
        assert_eq!(with(others.clone()).status, ConditionStatus::False);
        let clocks = ["node 2 (main-1) is at least 5 s ahead", "node 3 (main-2) is at least 60 s behind"];
        let all = clocks.map(|clock| problem(ProblemKind::ClockDiffers, clock)).into_iter().chain(others).collect();
        let found = with(all);
        assert_eq!((found.status, found.reason), (ConditionStatus::True, Reason::ClockSkew));
        assert_eq!(found.message, clocks.join("; "));
        assert_eq!(health_with(None).status, ConditionStatus::Unknown, "nobody has compared the clocks");
    }
}
