//! Stable names of the reasons why a store or a node is not in the declared state.

use std::fmt;

/// Defines [`WaitReason`] from a table, so a reason without a name does not compile and no reason is missing in `ALL`.
macro_rules! wait_reasons {
    ($($(#[$doc:meta])* $reason:ident => $name:literal,)*) => {
        /// Reason why a store or a node is not in the declared state. The names are stable, because conditions and the
        /// wire protocol contain the names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum WaitReason {
            $($(#[$doc])* $reason,)*
        }

        impl WaitReason {
            const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// Returns the name that conditions and the wire protocol use.
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
    /// Replicas are behind their leader.
    CatchingUp => "CatchingUp",
    /// A change of the voters or of the leader of a group is in progress.
    Changing => "Changing",
    /// Replicas move away from a node that is being drained.
    Draining => "Draining",
    /// New replicas of a group are being added.
    Growing => "Growing",
    /// A group has no leader.
    NoLeader => "NoLeader",
    /// Too few voters of a group answer, or too few are caught up.
    NoQuorum => "NoQuorum",
    /// A store declares more replicas than the number of nodes that accept replicas.
    NotEnoughNodes => "NotEnoughNodes",
    /// Nodes are removing the data of a store.
    Removing => "Removing",
    /// A replica fails at every start.
    ReplicaBroken => "ReplicaBroken",
    /// A replica reached a different state than the majority after applying the same log.
    ReplicaInconsistent => "ReplicaInconsistent",
    /// A lost node is being replaced.
    Replacing => "Replacing",
    /// A node cannot be drained because a store needs the node for its declared number of replicas.
    ScaleDownBlocked => "ScaleDownBlocked",
}

impl WaitReason {
    /// Finds the reason with a given name; `None` if this version does not know the name.
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
            assert_eq!(reason.to_string(), reason.name());
        }
    }
}
