//! Scaling in both directions, a pod at a time:
//!
//! - Up: the StatefulSet grows first, then the node joins.
//! - Down: the node is drained and proven to be in no group, then the StatefulSet shrinks, and only if every store fits
//!   on the remaining nodes. The whole removal happens under the disruption grant of the node, taken before the drain:
//!   no grant is available for a node outside the catalogue.

use super::{action::Action, decision::Plan, grant};
use crate::{
    controllers::cluster::{
        node_view,
        observation::{Observation, Wish},
    },
    resources::names,
};
use taffrail_crds::{Reason, Step};
use taffrail_proto::{
    admin::NodeView,
    v1::{NodeState, StoreState},
};

const NAMED_MAX: usize = 5;

pub(super) fn plan(plan: &mut Plan, wish: &Wish, observation: &Observation) {
    cancel_drains(plan, wish, observation);
    // Pods beyond the record: somebody scaled the StatefulSet, or the process died between two writes.
    let top = plan.size;
    if wish.replicas < top {
        down(plan, wish, observation, top);
    } else if wish.replicas > plan.nodes {
        up(plan, wish, observation);
    } else if let Some(ghost) = ghosts(wish, observation, plan.nodes).next() {
        drain(plan, observation, ghost);
    }
}

/// Cancels drains after `replicas` was reverted.
fn cancel_drains(plan: &mut Plan, wish: &Wish, observation: &Observation) {
    for node in observation.nodes() {
        let wanted = ordinal(wish, node).is_some_and(|ordinal| ordinal < wish.replicas);
        if node_view::state(node) == NodeState::Draining && wanted {
            plan.actions
                .push(Action::CancelDrain { node_id: node_view::id(node), pod: node_view::name(node).to_owned() });
        }
    }
}

fn up(plan: &mut Plan, wish: &Wish, observation: &Observation) {
    let last = plan.nodes - 1;
    let newest = observation.pods.get(&last).filter(|pod| !pod.terminating);
    let joined = plan.nodes == 0 || newest.is_some_and(|pod| observation.node_of(pod).is_some());
    if joined && !plan.is_disturbing() {
        plan.nodes += 1;
        plan.size = plan.size.max(plan.nodes);
        plan.actions.push(Action::RecordNodes(plan.nodes));
        plan.step(Step::AddNode, wish.pod(plan.nodes - 1), None);
    } else {
        let waiting = (!joined).then(|| format!("{} to become a member", wish.pod(last)));
        plan.step(Step::AddNode, wish.pod(plan.nodes), waiting);
    }
    let message = format!("{} of {} nodes", plan.nodes, wish.replicas);
    plan.changing.get_or_insert((Reason::ScalingUp, message));
}

fn down(plan: &mut Plan, wish: &Wish, observation: &Observation, top: i32) {
    let last = top - 1;
    let pod = wish.pod(last);
    if let Some(blocked) = blocked(wish, observation) {
        plan.step(Step::DrainNode, pod, Some(blocked.clone()));
        plan.stalled = Some((Reason::ScaleDownBlocked, blocked));
        return;
    }
    plan.changing
        .get_or_insert_with(|| (Reason::ScalingDown, format!("from {top} to {} nodes, {pod} is next", wish.replicas)));
    // Ghosts first: nodes of the catalogue without a pod.
    if let Some(node) = ghosts(wish, observation, top).chain(observation.nodes_named(&pod)).next() {
        match missing(wish, observation, last.min(plan.nodes)) {
            Some(missing) => {
                let waiting = format!("{missing} to become a member");
                plan.step(Step::DrainNode, node_view::name(node), Some(waiting));
            }
            None => drain(plan, observation, node),
        }
        return;
    }
    // The proof: the catalogue no longer lists the node, and no group names a former node of this pod.
    let named = observation.view.iter().flat_map(|view| &view.nodes).find(|node| {
        node_view::name(node) == pod && !node.named_by_groups.is_empty() && node_view::state(node) != NodeState::Removed
    });
    if let Some(node) = named {
        plan.step(
            Step::RemoveNode,
            pod,
            Some(format!("{} groups name node {}", node.named_by_groups.len(), node_view::id(node))),
        );
        return;
    }
    let taken = grant::blocks_removal(observation);
    let free = taken.is_none();
    plan.step(Step::RemoveNode, pod, taken);
    if free && !plan.is_disturbing() {
        plan.size = last;
        plan.shrinks = true;
        if last < plan.nodes {
            plan.nodes = last;
            plan.actions.push(Action::RecordNodes(last));
        }
    }
}

/// Returns a remaining pod that is not a member: the node to be drained may be needed to bring the pod back.
fn missing(wish: &Wish, observation: &Observation, below: i32) -> Option<String> {
    let is_member = |ordinal| observation.pods.get(&ordinal).is_some_and(|pod| observation.node_of(pod).is_some());
    (0..below).find(|ordinal| !is_member(*ordinal)).map(|ordinal| wish.pod(ordinal))
}

/// Returns members without an ordinal below `size`: leftovers of a pod removed while its node was joining.
fn ghosts<'a>(wish: &'a Wish, observation: &'a Observation, size: i32) -> impl Iterator<Item = &'a NodeView> {
    observation.nodes().filter(move |node| ordinal(wish, node).is_some_and(|ordinal| ordinal >= size))
}

fn ordinal(wish: &Wish, node: &NodeView) -> Option<i32> {
    names::ordinal(&wish.name, node_view::name(node))
}

fn drain(plan: &mut Plan, observation: &Observation, node: &NodeView) {
    let pod = node_view::name(node).to_owned();
    // Another node being drained, or a disruption of another node, comes first.
    let other = observation
        .nodes()
        .find(|n| node_view::state(n) == NodeState::Draining && node_view::id(n) != node_view::id(node));
    let held_up = match other {
        Some(other) => Some(format!("{} is being drained", node_view::name(other))),
        None => grant::held_elsewhere(observation, Some(node_view::id(node))),
    };
    if held_up.is_none() && !plan.is_disturbing() {
        // A group may be unable to do without the node (a Cluster of two nodes, or another replica behind). No grant is
        // available then, and the drain is the remedy: a drain takes nothing before the copies elsewhere are complete.
        // The grant follows once the copies are complete.
        let needs_grant = node.disruption_blocked_by.is_empty();
        plan.actions.push(Action::Drain { node_id: node_view::id(node), pod: pod.clone(), needs_grant });
    }
    let waiting = held_up.or_else(|| Some(node.waiting_for.clone()).filter(|text| !text.is_empty()));
    plan.step(Step::DrainNode, pod, waiting);
}

/// Describes the stores that would not fit on the desired number of nodes. Retained stores count, because a closed
/// store still holds its replicas.
fn blocked(wish: &Wish, observation: &Observation) -> Option<String> {
    let wanted = u32::try_from(wish.replicas).unwrap_or(0);
    let mut names: Vec<String> = Vec::new();
    for view in observation.view.iter().flat_map(|view| &view.stores) {
        let Some(store) = &view.store else { continue };
        if store.replicas > wanted && store.state() != StoreState::Removing {
            let retained = if store.state() == StoreState::Retained { ", retained" } else { "" };
            names.push(format!("{} ({} replicas{retained})", store.name, store.replicas));
        }
    }
    // A new store may not be declared yet.
    for store in observation.stores.iter().filter(|store| store.replicas > wish.replicas) {
        if !names.iter().any(|name| name.split(' ').next() == Some(store.name.as_str())) {
            names.push(format!("{} ({} replicas)", store.name, store.replicas));
        }
    }
    if names.is_empty() {
        return None;
    }
    names.sort();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "{} would not fit on {} nodes; lower spec.replicas of these stores, or raise spec.replicas of the \
         Cluster again",
        names.join(", ") + &more,
        wish.replicas
    ))
}
