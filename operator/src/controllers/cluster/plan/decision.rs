//! [`Plan`]: the decision of one reconcile.

use super::action::Action;
use std::time::Duration;
use taffrail_crds::{Reason, Step};

/// Recheck interval for silent pods, kept short because no trigger announces an open port of the process.
pub(super) const SILENT_POD_RECHECK: Duration = Duration::from_millis(500);

/// Line of `status.plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Kind of the step.
    pub(crate) step: Step,
    /// Name of the affected object.
    pub(crate) target: String,
    /// Awaited event as a phrase, if the step waits.
    pub(crate) waiting_for: Option<String>,
}

/// Decision of a reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Number of pods of the StatefulSet after this reconcile.
    pub(crate) size: i32,
    /// Recorded number of pods; nodes beyond this number never join.
    pub(crate) nodes: i32,
    /// The StatefulSet shrinks, and only from exactly the observed version.
    pub(crate) shrinks: bool,
    /// Actions to carry out, in order.
    pub(crate) actions: Vec<Action>,
    /// Lines of `status.plan`.
    pub(crate) steps: Vec<Planned>,
    /// Reason and message of a standstill until a person acts.
    pub(crate) stalled: Option<(Reason, String)>,
    /// Reason and message of missing nodes, beyond pods that are not ready.
    pub(crate) degraded: Option<(Reason, String)>,
    /// Reason and message of the current change.
    pub(crate) changing: Option<(Reason, String)>,
    /// The Cluster has been formed.
    pub(crate) formed: bool,
    /// Maximum delay before the next reconcile.
    pub(crate) recheck: Option<Duration>,
}

impl Plan {
    pub(super) fn step(&mut self, step: Step, target: impl Into<String>, waiting_for: Option<String>) {
        self.steps.push(Planned { step, target: target.into(), waiting_for });
    }

    pub(super) fn recheck_in(&mut self, after: Duration) {
        self.recheck = Some(self.recheck.map_or(after, |before| before.min(after)));
    }

    /// Returns whether this reconcile already disturbs a node.
    pub(super) fn is_disturbing(&self) -> bool {
        self.shrinks || self.actions.iter().any(Action::disturbs)
    }
}
