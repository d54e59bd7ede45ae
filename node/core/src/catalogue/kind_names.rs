//! Names of the kinds of commands, for logs and for the places where a test ends a coordinator.

use super::command::Kind;

/// Says each name once, so that a kind without one does not compile and none is missing from the list.
macro_rules! kinds {
    ($($kind:pat => $name:literal,)*) => {
        impl Kind {
            /// The names of all kinds.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// What this kind is called.
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
    Self::GroupFormed(_) => "group-formed",
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
