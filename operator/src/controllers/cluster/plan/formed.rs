//! Planner of a formed Cluster: joins, retained stores, replacements, scaling, rollout, in this order.

use super::{
    action::Action,
    decision::{Plan, SILENT_POD_RECHECK},
    grant, replace, roll, scale,
};
use crate::{
    controllers::cluster::observation::{NodeObservation, Observation, PodObservation, Wish},
    resources::identity::Identity,
};
use k8s_openapi::jiff::Timestamp;
use taffrail_crds::{Reason, Step};
use taffrail_proto::v1::StoreState;

/// Decides about a formed Cluster.
pub(super) fn plan(wish: &Wish, observation: &Observation, identity: &Identity, now: Timestamp) -> Plan {
    let running = observation.set.as_ref().map(|set| set.replicas);
    let nodes = identity.nodes.or(running).unwrap_or(wish.replicas);
    let mut plan = Plan {
        // Pods beyond the record (somebody scaled the StatefulSet) are removed individually, like any other pods.
        size: nodes.max(running.unwrap_or(nodes)),
        nodes,
        formed: true,
        ..Plan::default()
    };
    if !identity.formed || identity.nodes.is_none() {
        plan.actions.push(Action::MarkFormed { nodes });
    }
    wait_for_reports(&mut plan, observation, nodes, wish);
    if let Some(stranger) = foreign(observation, &identity.cluster_id) {
        plan.stalled = Some((Reason::ForeignVolumes, stranger));
        return plan;
    }
    if all_blank(wish, observation, nodes) {
        plan.stalled = Some((
            Reason::NodeLost,
            format!(
                "all {nodes} volumes are blank, but this Cluster was formed as {}; restore its volumes, or delete the \
                 ConfigMap {} to start again without its data",
                identity.cluster_id,
                crate::resources::names::identity(&wish.name)
            ),
        ));
        return plan;
    }
    join_blank(&mut plan, observation, nodes);
    if !wish.deleting {
        roll::delete_broken(&mut plan, observation);
    }
    if observation.view.is_none() {
        return plan;
    }
    retain_orphans(&mut plan, observation);
    if !wish.deleting {
        replace::plan(&mut plan, wish, observation, now);
        scale::plan(&mut plan, wish, observation);
        roll::plan(&mut plan, observation, now);
    }
    grant::give_back(&mut plan, observation);
    plan
}

/// Describes the first pod with data of another cluster.
fn foreign(observation: &Observation, cluster_id: &str) -> Option<String> {
    observation.pods.values().find_map(|pod| {
        let other = pod.cluster_id().filter(|id| *id != cluster_id)?;
        Some(format!(
            "the volume of pod {} belongs to cluster {other}, but this Cluster is {cluster_id}; give the pod its own \
             volume (delete its claim and the pod); nothing is overwritten",
            pod.name
        ))
    })
}

fn all_blank(wish: &Wish, observation: &Observation, size: i32) -> bool {
    let expected: Vec<_> = (0..size).map(|ordinal| observation.pods.get(&ordinal)).collect();
    !wish.deleting && size > 0 && expected.iter().all(|pod| pod.is_some_and(PodObservation::is_blank))
}

fn wait_for_reports(plan: &mut Plan, observation: &Observation, size: i32, wish: &Wish) {
    for ordinal in 0..size {
        let waiting = match observation.pods.get(&ordinal) {
            None => Some(
                observation
                    .creation
                    .as_ref()
                    .map_or_else(|| "the pod is being created".to_owned(), |t| t.message.clone()),
            ),
            Some(pod) if pod.terminating => Some("the old pod is stopping".to_owned()),
            Some(pod) => match (&pod.problem, &pod.node) {
                (Some(problem), _) => Some(problem.message.clone()),
                (None, NodeObservation::Silent(why)) => {
                    if pod.running {
                        plan.recheck_in(SILENT_POD_RECHECK);
                    }
                    Some(why.clone())
                }
                (None, NodeObservation::Status(node)) if !pod.ready => Some(if node.ready_reason.is_empty() {
                    "the node is not ready".to_owned()
                } else {
                    node.ready_reason.clone()
                }),
                (None, NodeObservation::Status(_)) => None,
            },
        };
        if let Some(waiting) = waiting {
            plan.step(Step::WaitForPods, wish.pod(ordinal), Some(waiting));
        }
    }
}

/// Joins blank nodes. A blank node never learns its cluster from a peer, only from the operator. Pods about to be
/// removed stay blank.
fn join_blank(plan: &mut Plan, observation: &Observation, size: i32) {
    for (_, pod) in observation.pods.range(..size) {
        if let (true, false, Some(address), Some(node)) =
            (pod.is_blank(), pod.terminating, &pod.address, pod.node_status())
        {
            plan.actions.push(Action::Join {
                pod: pod.name.clone(),
                address: address.clone(),
                disk_id: node.disk_id.clone(),
            });
            plan.step(Step::AddNode, pod.name.clone(), None);
        }
    }
}

/// Retains stores whose declaring object is gone: such a store is closed and kept, never deleted. The object is read
/// once more before the close.
fn retain_orphans(plan: &mut Plan, observation: &Observation) {
    for view in observation.view.iter().flat_map(|view| &view.stores) {
        let Some(store) = &view.store else { continue };
        let alive = matches!(store.state(), StoreState::Creating | StoreState::Active);
        if alive && !view.declared_by.is_empty() && !observation.stores.iter().any(|s| s.uid == view.declared_by) {
            plan.actions.push(Action::Retain {
                store_id: store.id.clone(),
                name: store.name.clone(),
                declared_by: view.declared_by.clone(),
            });
            plan.step(Step::RetainStore, store.name.clone(), None);
        }
    }
}
