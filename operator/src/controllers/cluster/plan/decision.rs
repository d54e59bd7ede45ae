//! [`Plan`]: the decision of one reconcile.

use std::time::Duration;

use taffrail_crds::{Reason, Step};

use super::action::Action;

/// Pods that do not answer yet are asked again soon: their process tells nobody that its port is open.
pub(super) const SILENT_POD_RECHECK: Duration = Duration::from_millis(500);

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
    pub(super) fn step(&mut self, step: Step, target: impl Into<String>, waiting_for: Option<String>) {
        self.steps.push(Planned { step, target: target.into(), waiting_for });
    }

    pub(super) fn recheck_in(&mut self, after: Duration) {
        self.recheck = Some(self.recheck.map_or(after, |before| before.min(after)));
    }

    /// Whether a step of this pass disturbs a node already.
    pub(super) fn is_disturbing(&self) -> bool {
        self.shrinks || self.actions.iter().any(Action::disturbs)
    }
}
