//! The disruption guard: a node may go away for a while only if every group that it serves keeps a caught-up majority
//! without it.

use super::observation::ClusterObservation;
use crate::{
    catalogue::{Catalogue, GroupPhase},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::BTreeSet;

/// The group that forbids to take a node away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    /// The group.
    pub(super) group: GroupId,
    /// Why, in one sentence that names the store or the system group.
    pub(super) sentence: String,
}

/// Checks whether a node may be taken away for a while. What is not known counts as no.
///
/// - A group of a single voter does not count, since its declaration accepts the outage.
/// - Both voters of a cluster of two nodes are let go, one at a time: no arrangement could do better.
///
/// # Errors
/// [`Blocked`] with the first group that forbids it.
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
        // A store of one replica accepts the outage, so its group is not asked, leader or not.
        if catalogue.groups.get(&group).is_some_and(|g| g.nodes().count() < 2) {
            continue;
        }
        let Some(observed) = observation.groups.get(&group) else { return Err(blocked("has no leader")) };
        if !observed.quorum {
            return Err(blocked("has no majority that answers"));
        }
        if observed.joint() {
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

/// The group is the system group of a cluster of two nodes, and both voters are caught up. The group loses its majority
/// while either of them is away, in any case; to refuse would mean that such a cluster can never be rolled. With a
/// third node the same group is merely on its way to three voters, and a store group of two is always on its way: both
/// grants wait for that.
fn is_caught_up_pair(c: &Catalogue, o: &ClusterObservation, group: GroupId, voters: &BTreeSet<ReplicaId>) -> bool {
    group == GroupId::SYSTEM
        && voters.len() == 2
        && c.present().count() == 2
        && voters.iter().all(|v| o.caught_up(group, *v))
}
