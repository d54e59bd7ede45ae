//! Reasons why the planner waits.

use std::fmt;

/// Spells each name once, so that a reason without a name does not compile and none is missing from the list.
macro_rules! wait_reasons {
    ($($(#[$doc:meta])* $reason:ident => $name:literal,)*) => {
        /// Why a store or a node is not as declared. The names are stable: they stand in conditions and on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum WaitReason {
            $($(#[$doc])* $reason,)*
        }

        impl WaitReason {
            /// All reasons.
            const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// The name in conditions and on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

wait_reasons! {
    /// Replicas have not applied all entries yet.
    CatchingUp => "CatchingUp",
    /// The voters or the leader of a group change.
    Changing => "Changing",
    /// Replicas move away from a node that is drained.
    Draining => "Draining",
    /// A group gets replicas.
    Growing => "Growing",
    /// A group has no leader.
    NoLeader => "NoLeader",
    /// Too few voters of a group answer, or too few are caught up.
    NoQuorum => "NoQuorum",
    /// A store asks for more replicas than there are nodes that take some.
    NotEnoughNodes => "NotEnoughNodes",
    /// Nodes remove the data of a store.
    Removing => "Removing",
    /// A replica reached a different state than the majority after applying the same log.
    ReplicaInconsistent => "ReplicaInconsistent",
    /// Another node takes the place of a lost node.
    Replacing => "Replacing",
    /// A store asks for a replica on a node that is drained.
    ScaleDownBlocked => "ScaleDownBlocked",
}

impl WaitReason {
    /// The reason with this name; `None` for a name of another version.
    ///
    /// ```
    /// use taffrail_core::plan::WaitReason;
    ///
    /// assert_eq!(WaitReason::from_name("NoLeader"), Some(WaitReason::NoLeader));
    /// assert_eq!(WaitReason::from_name(""), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::from_name(reason.name()), Some(*reason));
        }
    }
}
