//! Names of commands, for logs and for the fail points of the coordinator.

use super::command::Kind;

/// Defines the names from a table, so a kind without a name does not compile and no name is missing in `NAMES`.
macro_rules! kinds {
    ($($kind:pat => $name:literal,)*) => {
        impl Kind {
            /// Names of all kinds, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Returns the stable name of the kind, such as `add-replica`.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $($kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Self::Init { .. } => "init",
    Self::Register(_) => "register",
    Self::Declare(_) => "declare",
    Self::CreateStore(_) => "create-store",
    Self::RemoveStore(_) => "remove-store",
    Self::GroupFormed(_) => "group-formed",
    Self::FormAgain { .. } => "form-again",
    Self::Contradicted { .. } => "contradicted",
    Self::AddReplica { .. } => "add-replica",
    Self::ReplicaActive { .. } => "replica-active",
    Self::RetireReplica { .. } => "retire-replica",
    Self::DropReplica { .. } => "drop-replica",
    Self::Close { .. } => "close",
    Self::StoreGone(_) => "store-gone",
    Self::Drain(_) => "drain",
    Self::CancelDrain(_) => "cancel-drain",
    Self::Drained(_) => "drained",
    Self::Replace { .. } => "replace",
    Self::Replaced(_) => "replaced",
    Self::AcquireGrant { .. } => "acquire-grant",
    Self::ReleaseGrant { .. } => "release-grant",
    Self::RaiseRules(_) => "raise-rules",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_kinds_have_one_name() {
        let names: BTreeSet<_> = Kind::NAMES.iter().collect();
        assert_eq!(names.len(), Kind::NAMES.len());
    }
}
