//! Conditions: types, reasons, and the pure functions that turn findings into `status.conditions`.
//!
//! The operator reports [`Finding`]s. [`settle()`] adds a finding for each missing type of the kind, derives `Stable`,
//! and keeps `lastTransitionTime` of each condition whose status did not change. Time is an argument (`now`): the
//! module has no clock and no I/O.

mod condition;
mod reason;
mod settle;

pub use condition::{Condition, ConditionStatus, MESSAGE_LENGTH_MAX};
pub use reason::Reason;
pub use settle::{Finding, complete, find, merge, settle, stable, standing, whole_seconds};

use crate::conditions::ConditionType as T;

/// Type of a condition. Conditions are written in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Clients can read and write now.
    Ready,
    /// The operator is changing objects or nodes.
    Reconciling,
    /// Changes have stopped until a person acts.
    Stalled,
    /// Nodes or replicas that the spec asks for are missing.
    Degraded,
    /// `spec.paused` is set: the operator observes and changes nothing.
    Paused,
    /// The system group (Cluster) or the store's group (EventStore) has a majority of its voters.
    QuorumAvailable,
    /// The system group has a leader that answers (Cluster only).
    CoordinatorAvailable,
    /// The store has as many caught-up voters as `spec.replicas` (EventStore only).
    FullyReplicated,
    /// Clocks of nodes differ by five seconds or more (Cluster only).
    ClocksDiffer,
    /// The object is observed and Ready, and neither Reconciling, Stalled, Degraded nor Paused.
    Stable,
}

/// Good status of a condition; decides the status of a condition without a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is good; without a finding the status is `Unknown`.
    TrueIsGood,
    /// `True` reports trouble or a change; without a finding the status is `False`.
    TrueIsNotable,
}

/// Kind of an object with conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A [`Cluster`](crate::Cluster) object.
    Cluster,
    /// An [`EventStore`](crate::EventStore) object.
    EventStore,
}

impl Subject {
    /// Returns the types in every status of the kind, the first status included.
    pub fn types(self) -> &'static [ConditionType] {
        match self {
            Self::Cluster => &[
                T::Ready,
                T::Reconciling,
                T::Stalled,
                T::Degraded,
                T::Paused,
                T::QuorumAvailable,
                T::CoordinatorAvailable,
                T::ClocksDiffer,
                T::Stable,
            ],
            Self::EventStore => &[
                T::Ready,
                T::Reconciling,
                T::Stalled,
                T::Degraded,
                T::Paused,
                T::QuorumAvailable,
                T::FullyReplicated,
                T::Stable,
            ],
        }
    }
}

impl ConditionType {
    /// Returns the name in `status.conditions[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Degraded => "Degraded",
            Self::Paused => "Paused",
            Self::QuorumAvailable => "QuorumAvailable",
            Self::CoordinatorAvailable => "CoordinatorAvailable",
            Self::FullyReplicated => "FullyReplicated",
            Self::ClocksDiffer => "ClocksDiffer",
            Self::Stable => "Stable",
        }
    }

    /// Returns the meaning of `True` as one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "Clients can read and write now.",
            Self::Reconciling => "The operator is changing objects or nodes.",
            Self::Stalled => "Changes have stopped until a person acts; the message names the remedy.",
            Self::Degraded => "Nodes or replicas that the spec asks for are missing.",
            Self::Paused => "`spec.paused` is set: the operator observes and changes nothing.",
            Self::QuorumAvailable => "The group behind this object has a majority of its voters.",
            Self::CoordinatorAvailable => "The system group has a leader that answers.",
            Self::FullyReplicated => "The store has as many caught-up voters as `spec.replicas`.",
            Self::ClocksDiffer => "The clock of a node differs from the clocks of the other nodes by 5 s or more.",
            Self::Stable => "The object is observed and Ready, and neither Reconciling, Stalled, Degraded nor Paused.",
        }
    }

    /// Returns the good status of the type.
    pub fn polarity(self) -> Polarity {
        match self {
            Self::Ready | Self::QuorumAvailable | Self::CoordinatorAvailable | Self::FullyReplicated | Self::Stable => {
                Polarity::TrueIsGood
            }
            Self::Reconciling | Self::Stalled | Self::Degraded | Self::Paused | Self::ClocksDiffer => {
                Polarity::TrueIsNotable
            }
        }
    }
}

impl std::fmt::Display for ConditionType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_show_the_types_that_kstatus_reads() {
        for subject in [Subject::Cluster, Subject::EventStore] {
            for needed in [T::Ready, T::Reconciling, T::Stalled, T::Stable] {
                assert!(subject.types().contains(&needed), "{subject:?} {needed}");
            }
            assert!(subject.types().is_sorted(), "{subject:?}: written in the order of the enum");
        }
    }
}
