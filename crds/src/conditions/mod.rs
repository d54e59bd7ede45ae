//! Conditions: their types, their reasons, and the pure functions from findings to `status.conditions`.
//!
//! The operator states [`Finding`]s; [`settle()`] completes them to the full set of the kind, derives `Stable`, and keeps
//! `lastTransitionTime` where the status did not flip. No I/O and no clock: `now` is an argument.

mod condition;
mod reason;
mod settle;

pub use condition::{Condition, ConditionStatus, MESSAGE_LENGTH_MAX};
pub use reason::Reason;
pub use settle::{Finding, complete, find, merge, settle, stable, standing, whole_seconds};

use crate::conditions::ConditionType as T;

/// What a condition speaks about, in the order in which conditions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Clients can read and write now.
    Ready,
    /// The operator is changing something.
    Reconciling,
    /// Nothing moves until a person acts.
    Stalled,
    /// Fewer nodes or copies than asked for.
    Degraded,
    /// `spec.paused` is set: the operator observes and changes nothing.
    Paused,
    /// The system group (Cluster) or the store's group (EventStore) has a majority of its voters.
    QuorumAvailable,
    /// Cluster: the system group has a leader that answers.
    CoordinatorAvailable,
    /// EventStore: as many caught-up voters as asked for.
    FullyReplicated,
    /// Observed and Ready, and neither Reconciling, Stalled, Degraded nor Paused.
    Stable,
}

/// Which way a condition is good, and so what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `True` is good; not found means unknown.
    TrueIsGood,
    /// `True` is a sign of trouble or movement; not found means it is not so.
    TrueIsNotable,
}

/// The two kinds that carry conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A `Cluster`.
    Cluster,
    /// An `EventStore`.
    EventStore,
}

impl Subject {
    /// The types that an object of this kind shows from its first status on.
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
    /// The name in `status.conditions[].type`.
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
            Self::Stable => "Stable",
        }
    }

    /// What `True` means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "Clients can read and write now.",
            Self::Reconciling => "The operator is changing something.",
            Self::Stalled => "Nothing moves until a person acts; the message says how.",
            Self::Degraded => "There are fewer nodes or copies than asked for.",
            Self::Paused => "`spec.paused` is set: the operator observes and changes nothing.",
            Self::QuorumAvailable => "The group behind this object has a majority of its voters.",
            Self::CoordinatorAvailable => "The system group has a leader that answers.",
            Self::FullyReplicated => "The store has as many caught-up voters as asked for.",
            Self::Stable => "Observed and Ready, and neither Reconciling, Stalled, Degraded nor Paused.",
        }
    }

    /// Which way this condition is good.
    pub fn polarity(self) -> Polarity {
        match self {
            Self::Ready | Self::QuorumAvailable | Self::CoordinatorAvailable | Self::FullyReplicated | Self::Stable => {
                Polarity::TrueIsGood
            }
            Self::Reconciling | Self::Stalled | Self::Degraded | Self::Paused => Polarity::TrueIsNotable,
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
