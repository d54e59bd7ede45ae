//! Formation of a Cluster, exactly once: only after every expected pod has reported and all disks are blank. Volumes
//! with the recorded identity are adopted; volumes with any other identity stop the formation.

use super::{
    action::Action,
    decision::{Plan, SILENT_POD_RECHECK},
    roll,
};
use crate::{
    controllers::cluster::observation::{NodeObservation, Observation, PodObservation, Recorded, Wish},
    resources::identity::Identity,
};
use taffrail_crds::{Reason, Step};

/// Returns whether a disk already carries the recorded identity: the Cluster was then formed, although the record does
/// not say so.
pub(super) fn is_formed(identity: &Identity, observation: &Observation) -> bool {
    observation.pods.values().any(|pod| pod.cluster_id() == Some(identity.cluster_id.as_str()))
}

pub(super) fn plan(wish: &Wish, observation: &Observation, recorded: &Recorded) -> Plan {
    let mut plan = Plan { size: size(wish, observation), nodes: wish.replicas, ..Plan::default() };
    if wish.deleting {
        plan.size = observation.set.as_ref().map_or(0, |set| set.replicas);
        return plan;
    }
    let recorded_id = match recorded {
        Recorded::Nowhere => None,
        Recorded::Identity(identity) => Some(identity.cluster_id.clone()),
        Recorded::Annotations(id) => Some(id.clone()),
        Recorded::Conflict(reason, message) => {
            plan.stalled = Some((*reason, message.clone()));
            return plan;
        }
    };
    if let Some(pod) =
        observation.pods.values().find(|pod| pod.cluster_id().is_some_and(|id| Some(id) != recorded_id.as_deref()))
    {
        let other = pod.cluster_id().unwrap_or_default();
        plan.stalled = Some((
            Reason::ForeignVolumes,
            format!(
                "the volume of pod {} already belongs to cluster {other}, which is not recorded for this Cluster; give \
                 it blank volumes, or restore the ConfigMap {} with that id; nothing is overwritten",
                pod.name,
                crate::resources::names::identity(&wish.name)
            ),
        ));
        return plan;
    }
    let carries = |pod: &PodObservation| pod.cluster_id().is_some();
    match recorded {
        // The ConfigMap is lost and is written again from the annotations.
        Recorded::Annotations(id) => {
            let formed = observation.pods.values().any(carries);
            if formed || every_blank(wish, observation).is_some() {
                plan.actions.push(Action::Record {
                    cluster_id: Some(id.clone()),
                    formed,
                    nodes: observation.set.as_ref().map_or(wish.replicas, |set| set.replicas.max(1)),
                });
                plan.step(Step::AdoptVolumes, wish.name.clone(), None);
            }
        }
        Recorded::Identity(_) => {
            if let Some(first) = every_blank(wish, observation) {
                plan.actions.extend(bootstrap_action(first));
                plan.actions.push(Action::MarkFormed { nodes: wish.replicas });
            }
        }
        // Only the record is written. The next reconcile observes the record, annotates the volumes and bootstraps.
        Recorded::Nowhere => {
            if every_blank(wish, observation).is_some() {
                plan.actions.push(Action::Record { cluster_id: None, formed: false, nodes: wish.replicas });
            }
        }
        Recorded::Conflict(..) => {}
    }
    describe_steps(&mut plan, wish, observation);
    // A Cluster whose first template cannot run is repaired by a corrected template, like a Cluster formed long ago.
    roll::delete_broken(&mut plan, observation);
    plan
}

/// Number of ordinals that may hold anything: the maximum of the desired size, the size of the StatefulSet and
/// the existing pods.
fn extent(wish: &Wish, observation: &Observation) -> i32 {
    let set = observation.set.as_ref().map_or(0, |set| set.replicas);
    let existing = observation.pods.keys().max().map_or(0, |ordinal| ordinal + 1);
    wish.replicas.max(set).max(existing)
}

/// Size of the StatefulSet before the formation. Nothing is drained while the record is lost, so no potential data is
/// taken away: the set shrinks only after every existing pod has reported a blank disk.
fn size(wish: &Wish, observation: &Observation) -> i32 {
    let set = observation.set.as_ref().map_or(0, |set| set.replicas);
    if every_blank(wish, observation).is_some() { wish.replicas } else { wish.replicas.max(set) }
}

/// Returns the first pod, if every pod that may hold anything has reported a blank disk. Pods beyond the desired size
/// count as well: a Cluster must never be formed beside members that are merely silent.
fn every_blank<'a>(wish: &Wish, observation: &'a Observation) -> Option<&'a PodObservation> {
    let expected = |ordinal| observation.pods.get(&ordinal).filter(|pod| pod.is_blank() && !pod.terminating);
    let all = (0..extent(wish, observation)).all(|ordinal| expected(ordinal).is_some());
    all.then(|| expected(0)).flatten()
}

fn bootstrap_action(first: &PodObservation) -> Option<Action> {
    Some(Action::Bootstrap {
        pod: first.name.clone(),
        address: first.address.clone()?,
        disk_id: first.node_status()?.disk_id.clone(),
    })
}

fn describe_steps(plan: &mut Plan, wish: &Wish, observation: &Observation) {
    let mut missing = None;
    for ordinal in 0..wish.replicas {
        let waiting = match observation.pods.get(&ordinal) {
            None => observation
                .creation
                .as_ref()
                .map_or_else(|| "the pod is being created".to_owned(), |t| t.message.clone()),
            Some(pod) => match (&pod.problem, &pod.node) {
                (Some(problem), _) => problem.message.clone(),
                (None, NodeObservation::Silent(why)) => {
                    if pod.running {
                        plan.recheck_in(SILENT_POD_RECHECK);
                    }
                    why.clone()
                }
                (None, NodeObservation::Status(_)) => continue,
            },
        };
        let pod = wish.pod(ordinal);
        missing
            .get_or_insert_with(|| if waiting.contains(&pod) { waiting.clone() } else { format!("{pod}: {waiting}") });
        plan.step(Step::WaitForPods, pod, Some(waiting));
    }
    plan.step(Step::Bootstrap, wish.name.clone(), missing.clone());
    let message = missing.unwrap_or_else(|| "every volume is blank; the Cluster is being formed".to_owned());
    plan.changing = Some((Reason::Bootstrapping, message));
}
