//! Rollout of a changed template, a pod at a time: broken pods first and at once, then, each under a disruption grant,
//! the node with the fewest leaders. The next pod follows only when the last pod is back and caught up.

use super::{action::Action, decision::Plan, grant};
use crate::controllers::cluster::{
    node_view,
    observation::{Observation, PodObservation},
};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use taffrail_crds::{Reason, Step};
use taffrail_proto::v1::StoreState;

/// Time limit for the return of a restarted pod; beyond the limit the rollout halts.
const BACK_WITHIN: Duration = Duration::from_secs(300);

pub(super) fn plan(plan: &mut Plan, observation: &Observation, now: Timestamp) {
    let mut waiting: Vec<&PodObservation> = outdated(observation).collect();
    if waiting.is_empty() {
        return;
    }
    if let Some(halted) = halted(observation, now) {
        plan.stalled.get_or_insert(halted);
        describe_steps(plan, &waiting, Some("a restarted pod did not come back"));
        return;
    }
    // Pods that are not ready come first, because such pods serve least. Then by number of leaders, the busiest last,
    // and from the top down.
    waiting.sort_by_key(|pod| (pod.ready, leaders(observation, pod), std::cmp::Reverse(pod.name.clone())));
    let next = match grant::held_node(observation)
        .and_then(|node_id| waiting.iter().find(|pod| observation.node_of(pod).map(node_view::id) == Some(node_id)))
    {
        Some(held) => *held,
        None => waiting[0],
    };
    let blocked = unsettled(observation, next).or_else(|| {
        let taken = plan.is_disturbing() || plan.size != observation.set.as_ref().map_or(plan.size, |set| set.replicas);
        taken.then(|| "another step comes first".to_owned())
    });
    if blocked.is_none() {
        let node = observation.node_of(next);
        plan.actions.push(Action::Restart {
            node_id: node.map(node_view::id),
            pod: next.name.clone(),
            uid: next.uid.clone(),
            ready: next.ready,
            leads: node.map_or(0, |node| leads(observation, node_view::id(node))),
        });
    }
    plan.changing.get_or_insert_with(|| {
        (Reason::Rolling, format!("{} pods have an older template; {} is next", waiting.len(), next.name))
    });
    describe_steps(plan, &waiting, blocked.as_deref());
}

/// Deletes a pod of an old template whose process does not run, at once and without a grant, so that a cluster without
/// a quorum because of a bad image can be repaired.
pub(super) fn delete_broken(plan: &mut Plan, observation: &Observation) {
    let broken = outdated(observation).find(|pod| !pod.running && !pod.terminating);
    if let Some(pod) = broken.filter(|_| !plan.is_disturbing()) {
        plan.actions.push(Action::DeleteBroken { pod: pod.name.clone(), uid: pod.uid.clone() });
        plan.step(Step::RestartPod, pod.name.clone(), None);
        plan.changing = Some((Reason::Rolling, format!("{} does not run and is recreated", pod.name)));
    }
}

fn describe_steps(plan: &mut Plan, waiting: &[&PodObservation], first_waits_for: Option<&str>) {
    for (index, pod) in waiting.iter().enumerate() {
        let why = if index == 0 {
            first_waits_for.map(str::to_owned)
        } else {
            Some(format!("{} first", waiting[index - 1].name))
        };
        plan.step(Step::RestartPod, pod.name.clone(), why);
    }
}

/// Returns the reason for a halt: a pod of the new template does not come back, while other pods still have
/// the old template.
fn halted(observation: &Observation, now: Timestamp) -> Option<(Reason, String)> {
    let current = revision(observation)?;
    let renewed = observation.pods.values().filter(|pod| pod.revision == current && !pod.ready && !pod.terminating);
    renewed.into_iter().find_map(|pod| {
        let age = Duration::try_from(now.duration_since(pod.created)).unwrap_or_default();
        let why = match &pod.problem {
            Some(problem) => problem.message.clone(),
            None if age > BACK_WITHIN => format!("{} is not ready after {} s", pod.name, BACK_WITHIN.as_secs()),
            None => return None,
        };
        Some((Reason::RolloutHalted, format!("{why}; correct the spec; this pod is then replaced first")))
    })
}

/// Returns the obstacle to a restart: some other pod is away, not ready or behind.
fn unsettled(observation: &Observation, next: &PodObservation) -> Option<String> {
    if next.terminating {
        return Some(format!("{} is stopping", next.name));
    }
    let wanted = observation.set.as_ref().map_or(0, |set| set.replicas);
    for ordinal in 0..wanted {
        match observation.pods.get(&ordinal) {
            None => return Some(format!("the pod of ordinal {ordinal} to be created")),
            Some(pod) if pod.uid == next.uid => {}
            Some(pod) if pod.terminating || !pod.ready => return Some(format!("{} to be ready", pod.name)),
            Some(pod) => match observation.node_of(pod) {
                None => return Some(format!("{} to become a member", pod.name)),
                Some(node) if !node.caught_up => return Some(format!("{} to catch up", pod.name)),
                Some(_) => {}
            },
        }
    }
    let node = observation.node_of(next);
    if let Some(node) = node.filter(|node| !node.disruption_blocked_by.is_empty()) {
        return Some(format!("{} would lose its caught-up majority", node.disruption_blocked_by));
    }
    grant::held_elsewhere(observation, node.map(node_view::id))
}

fn leaders(observation: &Observation, pod: &PodObservation) -> u32 {
    observation.node_of(pod).and_then(|node| node.node.as_ref()).map_or(0, |node| node.leader_count())
}

/// Returns the number of groups led by this node that another voter could lead. A store of a single voter has
/// no other candidate.
fn leads(observation: &Observation, node_id: u64) -> u32 {
    let Some(view) = &observation.view else { return 0 };
    let stores = view.stores.iter().filter_map(|view| view.store.as_ref()).filter(|store| {
        let voters = store.members.iter().filter(|member| member.voter()).count();
        store.leader_node_id() == node_id && voters > 1 && store.state() == StoreState::Active
    });
    let voters = view.nodes.iter().filter(|node| node.node.as_ref().is_some_and(|n| n.system_voter)).count();
    let system = view.status.as_ref().is_some_and(|status| status.coordinator_node_id() == node_id) && voters > 1;
    u32::try_from(stores.count()).unwrap_or(u32::MAX).saturating_add(u32::from(system))
}

fn outdated(observation: &Observation) -> impl Iterator<Item = &PodObservation> {
    let current = revision(observation);
    observation.pods.values().filter(move |pod| current.is_some_and(|current| pod.revision != current))
}

fn revision(observation: &Observation) -> Option<&str> {
    observation.set.as_ref()?.revision.as_deref()
}
