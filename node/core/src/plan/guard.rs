//! Disruption guard: allows a node to be taken down temporarily only if every group on the node keeps a caught-up
//! majority of voters on other nodes.

use super::observation::ClusterObservation;
use crate::{
    catalogue::{Catalogue, GroupPhase},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::BTreeSet;

/// Refusal of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// First group that needs the node.
    pub(super) group: GroupId,
    /// Reason as a sentence about the store or the system group.
    pub(super) sentence: String,
}

/// Checks whether a node may be taken down temporarily. A group without an observation refuses.
///
/// - A group with a single voter is not protected, because the declaration of the store accepts the outage.
/// - In a cluster of two nodes the guard allows either voter of the system group to go down, but not both, because two
///   voters cannot tolerate any outage.
///
/// # Errors
/// [`Blocked`] with the first group that needs the node.
pub(super) fn guard(catalogue: &Catalogue, observation: &ClusterObservation, node: NodeId) -> Result<(), Blocked> {
    let system = (GroupId::SYSTEM, "the system group".to_owned());
    let stores = catalogue.groups.iter().filter(|(_, g)| g.phase == GroupPhase::Formed && g.nodes().any(|n| n == node));
    let named = stores.map(|(id, g)| {
        let name =
            catalogue.stores.get(&g.store).map_or_else(|| format!("group {id}"), |s| format!("store {}", s.name));
        (*id, name)
    });
    for (group, name) in std::iter::once(system).chain(named) {
        let blocked = |why: &str| Blocked { group, sentence: format!("{name} {why}") };
        // A store with a single replica accepts the outage, even while the group has no leader.
        if catalogue.groups.get(&group).is_some_and(|g| g.nodes().count() < 2) {
            continue;
        }
        let Some(observed) = observation.groups.get(&group) else { return Err(blocked("has no leader")) };
        if !observed.quorum {
            return Err(blocked("has no majority that answers"));
        }
        if observed.changing() {
            return Err(blocked("is changing its voters"));
        }
        let voters = observed.voters();
        if voters.len() < 2 || !voters.iter().any(|v| observed.hosts.get(v) == Some(&node)) {
            continue;
        }
        let without =
            voters.iter().filter(|v| observed.hosts.get(v) != Some(&node) && observation.caught_up(group, **v)).count();
        if without * 2 <= voters.len() {
            if is_caught_up_pair(catalogue, observation, group, &voters) {
                continue;
            }
            return Err(blocked(&format!("would keep {without} caught-up of {} voters", voters.len())));
        }
    }
    Ok(())
}

/// True for the system group of a cluster of two nodes if both voters are caught up.
///
/// Such a group has no majority while either voter is down, and with a refusal a cluster of two nodes could never be
/// rolled. All other groups of two voters are temporary, and a disruption waits for their next change of voters: the
/// system group of a larger cluster grows to three voters, and a store group stays at two only while the data of a fenced replica waits for a
/// person.
fn is_caught_up_pair(c: &Catalogue, o: &ClusterObservation, group: GroupId, voters: &BTreeSet<ReplicaId>) -> bool {
    group == GroupId::SYSTEM
        && voters.len() == 2
        && c.present().count() == 2
        && voters.iter().all(|v| o.caught_up(group, *v))
}
