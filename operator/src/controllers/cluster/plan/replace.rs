//! Replacement of a lost disk; a lost disk is never just subtracted. The operator starts a replacement only under all
//! of these conditions:
//!
//! - the pod of the same name has reported another disk for a minute;
//! - every group of the old node keeps a caught-up majority without the old node;
//! - no other replacement runs.

use super::{action::Action, decision::Plan};
use crate::controllers::cluster::{
    node_view,
    observation::{Observation, PodObservation, Wish},
};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use taffrail_crds::{Reason, Step};
use taffrail_proto::{admin::NodeView, v1::NodeState};

/// Minimum time since the first report of the other disk. A process keeps its disk for life, so the time counts from
/// the start of the process.
const REPORTED_FOR: Duration = Duration::from_secs(60);

pub(super) fn plan(plan: &mut Plan, wish: &Wish, observation: &Observation, now: Timestamp) {
    let nodes = plan.nodes;
    for (ordinal, pod) in observation.pods.range(..nodes) {
        for lost in lost_nodes(observation, pod) {
            decide(plan, observation, pod, lost, now);
        }
        if *ordinal < wish.replicas && is_removed(observation, pod) {
            start_again(plan, pod, now);
        }
    }
}

/// Returns whether the disk of a remaining pod was drained or replaced: a scale-down was reverted after its end.
fn is_removed(observation: &Observation, pod: &PodObservation) -> bool {
    let Some(disk) = pod.node_status().map(|node| node.disk_id.as_str()) else {
        return false;
    };
    let mut nodes = observation.view.iter().flat_map(|view| &view.nodes);
    nodes.any(|node| {
        let removed = matches!(node_view::state(node), NodeState::Drained | NodeState::Removed);
        removed && node.named_by_groups.is_empty() && node.node.as_ref().is_some_and(|n| n.disk_id == disk)
    })
}

/// Restarts a pod whose disk was removed. At its start, the node retires the disk and joins as a new node. The running
/// node is in no group, so nothing depends on the pod. A fresh process gets the time to retire the disk by itself.
fn start_again(plan: &mut Plan, pod: &PodObservation, now: Timestamp) {
    let waiting = if let Some(wait) = remaining(pod, now) {
        plan.recheck_in(wait);
        Some("the node to retire its old data".to_owned())
    } else {
        if !plan.is_disturbing() && !pod.terminating {
            plan.actions.push(Action::Restart {
                node_id: None,
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                ready: pod.ready,
                leads: 0,
            });
        }
        None
    };
    plan.changing.get_or_insert_with(|| (Reason::ScalingUp, format!("{} joins as a new node", pod.name)));
    plan.step(Step::AddNode, pod.name.clone(), waiting);
}

/// Returns unreachable nodes of the catalogue with the name of this pod and a disk that the pod no longer has.
fn lost_nodes<'a>(observation: &'a Observation, pod: &'a PodObservation) -> impl Iterator<Item = &'a NodeView> {
    let disk = pod.node_status().map(|node| node.disk_id.as_str());
    let other = move |node: &&NodeView| {
        let known = node.node.as_ref().map(|n| (n.disk_id.as_str(), n.reachable));
        matches!((disk, known), (Some(has), Some((had, false))) if has != had)
    };
    observation.nodes_named(&pod.name).filter(other)
}

fn decide(plan: &mut Plan, observation: &Observation, pod: &PodObservation, lost: &NodeView, now: Timestamp) {
    let old = node_view::id(lost);
    let running = observation.view.iter().flat_map(|view| &view.replacements);
    let mut others = running.clone().filter(|r| r.old_node_id != old);
    let waiting = if let Some(this) = running.clone().find(|r| r.old_node_id == old) {
        Some(this.waiting_for.clone()).filter(|text| !text.is_empty())
    } else if let Some(other) = others.next() {
        Some(format!("node {} is being replaced", other.old_node_id))
    } else if let Some(wait) = remaining(pod, now) {
        plan.recheck_in(wait);
        Some(format!("the pod to have reported its new disk for {} s", REPORTED_FOR.as_secs()))
    } else if !lost.disruption_blocked_by.is_empty() {
        Some(format!("{} has no caught-up majority without it", lost.disruption_blocked_by))
    } else if let Some(new) = observation.node_of(pod) {
        if !plan.is_disturbing() {
            plan.actions.push(Action::Replace { old, new: node_view::id(new), pod: pod.name.clone() });
        }
        None
    } else {
        Some(format!("{} is joining as a new node", pod.name))
    };
    plan.degraded =
        Some((Reason::NodeLost, format!("node {old} ({}) lost its volume and is being replaced", pod.name)));
    plan.changing.get_or_insert_with(|| (Reason::ReplacingNode, format!("node {old} ({})", pod.name)));
    plan.step(Step::ReplaceNode, pod.name.clone(), waiting);
}

fn remaining(pod: &PodObservation, now: Timestamp) -> Option<Duration> {
    let Some(started) = pod.started.filter(|_| pod.running) else {
        return Some(REPORTED_FOR);
    };
    let reported = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    REPORTED_FOR.checked_sub(reported).filter(|left| !left.is_zero())
}
