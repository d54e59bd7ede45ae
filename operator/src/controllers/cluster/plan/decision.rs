//! [`Plan`]: the decision of one reconcile.

use super::action::Action;
use std::time::Duration;
use taffrail_crds::{Reason, Step};

/// Pods that do not answer yet are asked again soon: their process tells nobody that its port is open.
pub(super) const SILENT_POD_RECHECK: Duration = Duration::from_millis(500);

/// A line of `status.plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// What will be done.
    pub(crate) step: Step,
    /// To what.
    pub(crate) target: String,
    /// What it waits for.
    pub(crate) waiting_for: Option<String>,
}

/// The decision of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Pods that the StatefulSet is to have after this pass.
    pub(crate) size: i32,
    /// Pods that are recorded as wanted: nodes above this never join.
    pub(crate) nodes: i32,
    /// The StatefulSet shrinks: only from exactly the state that was seen.
    pub(crate) shrinks: bool,
    /// What to do, in order.
    pub(crate) actions: Vec<Action>,
    /// What `status.plan` says.
    pub(crate) steps: Vec<Planned>,
    /// Nothing moves until a person acts.
    pub(crate) stalled: Option<(Reason, String)>,
    /// Fewer nodes than asked for, beyond pods that are not ready.
    pub(crate) degraded: Option<(Reason, String)>,
    /// What is being changed.
    pub(crate) changing: Option<(Reason, String)>,
    /// The Cluster has been formed.
    pub(crate) formed: bool,
    /// Look again after this long, whatever happens.
    pub(crate) recheck: Option<Duration>,
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
