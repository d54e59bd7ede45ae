//! From what is asked for and what was seen to what is done next. A pure function: no I/O, no clock of its own, no memory.
//! Every step follows from what is observed, so a crash between any two steps resumes.
//!
//! At most one step of a pass may disturb a node ([`Action::disturbs`]).

mod bootstrap;
mod grant;
mod replace;
mod roll;
mod scale;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use taffrail_crds::{Reason, Step};
use taffrail_proto::v1::StoreState;

use super::observation::{NodeObservation, Observation, PodObservation, Recorded, Wish};
use crate::resources::identity::Identity;

/// How long a disruption may last before others may begin one; a log of any length must be replayed within it.
pub const GRANT_TTL: Duration = Duration::from_secs(600);
/// Pods that do not answer yet are asked again soon: their process tells nobody that its port is open.
const SILENT_POD_RECHECK: Duration = Duration::from_millis(500);
/// What every step of a paused Cluster waits for.
pub(super) const PAUSED: &str = "spec.paused to be set to false";

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the identity; `None` mints a new id.
    Record {
        /// The id to write again, where it is known.
        cluster_id: Option<String>,
        /// The Cluster was formed already.
        formed: bool,
        /// Pods that the StatefulSet is to have.
        nodes: i32,
    },
    /// Write down that the Cluster was formed.
    MarkFormed {
        /// Pods that the StatefulSet is to have.
        nodes: i32,
    },
    /// Write down how many pods the StatefulSet is to have.
    RecordNodes(i32),
    /// Make a blank node the first of the cluster.
    Bootstrap {
        /// Its pod.
        pod: String,
        /// Its admin address.
        address: String,
        /// Its disk.
        disk_id: String,
    },
    /// Tell a blank node which cluster it belongs to.
    Join {
        /// Its pod.
        pod: String,
        /// Its admin address.
        address: String,
        /// Its disk.
        disk_id: String,
    },
    /// Close a store whose EventStore is gone, keeping its data.
    Retain {
        /// The store.
        store_id: String,
        /// Name of the EventStore that is gone.
        name: String,
        /// UID of that object.
        declared_by: String,
    },
    /// Move everything off a node.
    Drain {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
        /// Ask for the right to take the node, or renew it, and drain only with it.
        needs_grant: bool,
    },
    /// Take a drain back.
    CancelDrain {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
    },
    /// Put a new node in the place of a lost one.
    Replace {
        /// The lost node.
        old: u64,
        /// The new one.
        new: u64,
        /// Their pod.
        pod: String,
    },
    /// Ask for the right to take a pod, or renew it, and with it move its leaders and evict it.
    Restart {
        /// The node; none if it is not a member, so that nothing depends on it.
        node_id: Option<u64>,
        /// Its pod.
        pod: String,
        /// UID of that pod.
        uid: String,
        /// Whether the pod is ready. One that is not is deleted, because the eviction API refuses it at budget 0.
        ready: bool,
        /// Groups of several voters that it leads: they are moved first.
        leads: u32,
    },
    /// Delete a pod whose process does not run.
    DeleteBroken {
        /// The pod.
        pod: String,
        /// UID of that pod.
        uid: String,
    },
    /// Give the right to take a node back.
    Release {
        /// The node.
        node_id: u64,
        /// Its pod.
        pod: String,
    },
}

impl Action {
    /// Whether it takes a node, or part of its work, away.
    pub fn disturbs(&self) -> bool {
        match self {
            Self::Drain { .. } | Self::Replace { .. } | Self::Restart { .. } | Self::DeleteBroken { .. } => true,
            Self::Record { .. }
            | Self::MarkFormed { .. }
            | Self::RecordNodes(_)
            | Self::Bootstrap { .. }
            | Self::Join { .. }
            | Self::Retain { .. }
            | Self::CancelDrain { .. }
            | Self::Release { .. } => false,
        }
    }
}

/// A line of `status.plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What will be done.
    pub step: Step,
    /// To what.
    pub target: String,
    /// What it waits for.
    pub waiting_for: Option<String>,
}

/// The decision of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods that the StatefulSet is to have after this pass.
    pub size: i32,
    /// Pods that are recorded as wanted: nodes above this never join.
    pub nodes: i32,
    /// The StatefulSet shrinks: only from exactly the state that was seen.
    pub shrinks: bool,
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// What `status.plan` says.
    pub steps: Vec<Planned>,
    /// Nothing moves until a person acts.
    pub stalled: Option<(Reason, String)>,
    /// Fewer nodes than asked for, beyond pods that are not ready.
    pub degraded: Option<(Reason, String)>,
    /// What is being changed.
    pub changing: Option<(Reason, String)>,
    /// The Cluster has been formed.
    pub formed: bool,
    /// Look again after this long, whatever happens.
    pub recheck: Option<Duration>,
}

impl Plan {
    fn step(&mut self, step: Step, target: impl Into<String>, waiting_for: Option<String>) {
        self.steps.push(Planned { step, target: target.into(), waiting_for });
    }

    fn recheck_in(&mut self, after: Duration) {
        self.recheck = Some(self.recheck.map_or(after, |before| before.min(after)));
    }

    /// Whether a step of this pass disturbs a node already.
    fn is_disturbing(&self) -> bool {
        self.shrinks || self.actions.iter().any(Action::disturbs)
    }
}

/// Decides.
pub fn plan(wish: &Wish, observation: &Observation, now: Timestamp) -> Plan {
    let mut plan = match &observation.recorded {
        Recorded::Identity(identity) if identity.formed || bootstrap::is_formed(identity, observation) => {
            formed(wish, observation, identity, now)
        }
        recorded @ (Recorded::Nowhere | Recorded::Identity(_) | Recorded::Annotations(_) | Recorded::Conflict(..)) => {
            bootstrap::plan(wish, observation, recorded)
        }
    };
    if wish.paused {
        pause(&mut plan, observation);
    }
    plan
}

/// Nothing is done and nothing is changing; the plan still shows what would be done.
fn pause(plan: &mut Plan, observation: &Observation) {
    plan.actions.clear();
    plan.shrinks = false;
    plan.size = observation.set.as_ref().map_or(plan.size, |set| set.replicas);
    plan.changing = None;
    for step in &mut plan.steps {
        step.waiting_for.get_or_insert_with(|| PAUSED.to_owned());
    }
}

/// Decides for a Cluster that has been formed.
fn formed(wish: &Wish, observation: &Observation, identity: &Identity, now: Timestamp) -> Plan {
    let running = observation.set.as_ref().map(|set| set.replicas);
    let nodes = identity.nodes.or(running).unwrap_or(wish.replicas);
    let mut plan = Plan {
        // More pods than recorded (somebody scaled the StatefulSet) go one by one, as any others.
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

/// A node that carries data of another cluster.
fn foreign(observation: &Observation, cluster_id: &str) -> Option<String> {
    observation.pods.values().find_map(|pod| {
        let other = pod.cluster_id().filter(|id| *id != cluster_id)?;
        Some(format!(
            "the volume of pod {} belongs to cluster {other}, this Cluster is {cluster_id}; give the pod its own \
             volume (delete its claim and the pod), nothing is overwritten",
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

/// A blank node never learns its cluster from a peer; the operator tells it. Pods that are about to be taken away are
/// left blank.
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

/// Stores whose declaring object is gone are closed and kept, never deleted. The object is read once more before that.
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
