//! A changed template reaches the pods one at a time: broken pods first and at once, then, each under a disruption
//! grant, the node with the fewest leaders. The next one goes only when the last one is back and caught up.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use taffrail_crds::{Reason, Step};
use taffrail_proto::v1::StoreState;

use super::{Action, Plan, grant};
use crate::controllers::cluster::observation::{self, PodSeen, Seen};

/// A restarted pod that is not back after this long has halted the rollout.
const BACK_WITHIN: Duration = Duration::from_secs(300);

fn revision(seen: &Seen) -> Option<&str> {
    seen.set.as_ref()?.revision.as_deref()
}

fn outdated(seen: &Seen) -> impl Iterator<Item = &PodSeen> {
    let current = revision(seen);
    seen.pods.values().filter(move |pod| current.is_some_and(|current| pod.revision != current))
}

/// A pod of an old template whose process does not run is replaced at once and without a grant: so a cluster that lost
/// its quorum to a bad image can be repaired.
pub(super) fn delete_broken(plan: &mut Plan, seen: &Seen) {
    let broken = outdated(seen).find(|pod| !pod.running && !pod.terminating);
    if let Some(pod) = broken.filter(|_| !plan.is_disturbing()) {
        plan.actions.push(Action::DeleteBroken { pod: pod.name.clone(), uid: pod.uid.clone() });
        plan.step(Step::RestartPod, pod.name.clone(), None);
        plan.changing = Some((Reason::Rolling, format!("{} does not run and is made anew", pod.name)));
    }
}

pub(super) fn plan(plan: &mut Plan, seen: &Seen, now: Timestamp) {
    let mut waiting: Vec<&PodSeen> = outdated(seen).collect();
    if waiting.is_empty() {
        return;
    }
    if let Some(halted) = halted(seen, now) {
        plan.stalled.get_or_insert(halted);
        say(plan, &waiting, Some("a restarted pod did not come back"));
        return;
    }
    // Not ready ones first: they serve least. Then by leaders, the busiest last, and from the top down.
    waiting.sort_by_key(|pod| (pod.ready, leaders(seen, pod), std::cmp::Reverse(pod.name.clone())));
    let next = match grant::held(seen)
        .and_then(|node_id| waiting.iter().find(|pod| seen.node_of(pod).map(observation::id) == Some(node_id)))
    {
        Some(held) => *held,
        None => waiting[0],
    };
    let blocked = unsettled(seen, next).or_else(|| {
        let taken = plan.is_disturbing() || plan.size != seen.set.as_ref().map_or(plan.size, |set| set.replicas);
        taken.then(|| "another step comes first".to_owned())
    });
    if blocked.is_none() {
        let node = seen.node_of(next);
        plan.actions.push(Action::Restart {
            node_id: node.map(observation::id),
            pod: next.name.clone(),
            uid: next.uid.clone(),
            ready: next.ready,
            leads: node.map_or(0, |node| leads(seen, observation::id(node))),
        });
    }
    plan.changing.get_or_insert_with(|| {
        (Reason::Rolling, format!("{} pods have an older template, {} is next", waiting.len(), next.name))
    });
    say(plan, &waiting, blocked.as_deref());
}

fn say(plan: &mut Plan, waiting: &[&PodSeen], first_waits_for: Option<&str>) {
    for (index, pod) in waiting.iter().enumerate() {
        let why = if index == 0 {
            first_waits_for.map(str::to_owned)
        } else {
            Some(format!("{} first", waiting[index - 1].name))
        };
        plan.step(Step::RestartPod, pod.name.clone(), why);
    }
}

/// A pod of the new template that does not come back, while others still have the old one.
fn halted(seen: &Seen, now: Timestamp) -> Option<(Reason, String)> {
    let current = revision(seen)?;
    let renewed = seen.pods.values().filter(|pod| pod.revision == current && !pod.ready && !pod.terminating);
    renewed.into_iter().find_map(|pod| {
        let age = Duration::try_from(now.duration_since(pod.created)).unwrap_or_default();
        let why = match &pod.trouble {
            Some(trouble) => trouble.message.clone(),
            None if age > BACK_WITHIN => format!("{} is not ready after {} s", pod.name, BACK_WITHIN.as_secs()),
            None => return None,
        };
        Some((Reason::RolloutHalted, format!("{why}; correct the spec, this pod is then replaced first")))
    })
}

/// Why no other pod may go now: some other pod is away, not ready or behind.
fn unsettled(seen: &Seen, next: &PodSeen) -> Option<String> {
    if next.terminating {
        return Some(format!("{} is stopping", next.name));
    }
    let wanted = seen.set.as_ref().map_or(0, |set| set.replicas);
    for ordinal in 0..wanted {
        match seen.pods.get(&ordinal) {
            None => return Some(format!("the pod of ordinal {ordinal} to be created")),
            Some(pod) if pod.uid == next.uid => {}
            Some(pod) if pod.terminating || !pod.ready => return Some(format!("{} to be ready", pod.name)),
            Some(pod) => match seen.node_of(pod) {
                None => return Some(format!("{} to become a member", pod.name)),
                Some(node) if !node.caught_up => return Some(format!("{} to catch up", pod.name)),
                Some(_) => {}
            },
        }
    }
    let node = seen.node_of(next);
    if let Some(node) = node.filter(|node| !node.disruption_blocked_by.is_empty()) {
        return Some(format!("{} would lose its caught-up majority", node.disruption_blocked_by));
    }
    grant::taken(seen, node.map(observation::id))
}

fn leaders(seen: &Seen, pod: &PodSeen) -> u32 {
    seen.node_of(pod).and_then(|node| node.node.as_ref()).map_or(0, |node| node.leaders)
}

/// Groups led from this node that another voter could lead. A store of one voter has nobody to hand over to.
fn leads(seen: &Seen, node_id: u64) -> u32 {
    let Some(view) = &seen.view else { return 0 };
    let stores = view.stores.iter().filter_map(|view| view.store.as_ref()).filter(|store| {
        let voters = store.members.iter().filter(|member| member.voter).count();
        store.leader == node_id && voters > 1 && store.state() == StoreState::Active
    });
    let voters = view.nodes.iter().filter(|node| node.node.as_ref().is_some_and(|n| n.system_voter)).count();
    let system = view.status.as_ref().is_some_and(|status| status.coordinator == node_id) && voters > 1;
    u32::try_from(stores.count()).unwrap_or(u32::MAX).saturating_add(u32::from(system))
}
