//! Planted defect of the catalogue: replica ids that are used again.

use std::collections::BTreeSet;
use taffrail_core::{
    catalogue::{self, ApplyError, Catalogue, CatalogueOutcome, Command, Kind, Touched},
    ids::{GroupId, ReplicaId},
};
use taffrail_runtime::planted_defect::is_planted;

/// Applies a command by the rules of the catalogue, except in a simulation with the defect `reused-replica-id`: a new replica
/// then gets the lowest id that no other replica of the group has at the moment.
///
/// # Errors
/// The rules of the command are unknown to this version.
#[inline]
pub(super) fn apply(
    catalogue: &mut Catalogue,
    command: &Command,
) -> Result<(CatalogueOutcome, BTreeSet<Touched>), ApplyError> {
    if !is_planted("reused-replica-id") {
        return catalogue::apply(catalogue, command);
    }
    let group = if let Kind::AddReplica { group, .. } = &command.kind {
        *group
    } else if matches!(command.kind, Kind::Declare(_) | Kind::FormAgain { .. }) {
        GroupId::new(catalogue.next_group)
    } else {
        return catalogue::apply(catalogue, command);
    };
    // Ids of other groups stay distinct.
    let base = 1_000_000 + group.get() * 1_000;
    let record = catalogue.groups.get(&group);
    let taken = |id: &u64| record.is_some_and(|g| g.replicas.contains_key(&ReplicaId::new(*id)));
    let free = (base..).find(|id| !taken(id)).unwrap_or(base);
    let next = std::mem::replace(&mut catalogue.next_replica, free);
    let applied = catalogue::apply(catalogue, command);
    catalogue.next_replica = next;
    applied
}
