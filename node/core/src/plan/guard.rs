//! May a node go away for a while? Only if every group that it serves keeps a caught-up majority without it.

use super::observation::ClusterObservation;
use crate::{
    catalogue::{Catalogue, GroupPhase},
    ids::{GroupId, NodeId, ReplicaId},
};
use std::collections::BTreeSet;

/// What forbids it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The group.
    pub group: GroupId,
    /// One sentence.
    pub sentence: String,
}

/// Checks one node. Unknown counts as no; groups of a single voter do not count, since their spec accepts the outage, and
/// two voters are let go one at a time where no arrangement could do better (see `pair`).
///
/// # Errors
/// The first group that forbids it.
pub fn guard(catalogue: &Catalogue, observed: &ClusterObservation, node: NodeId) -> Result<(), Blocked> {
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
        let Some(seen) = observed.groups.get(&group) else { return Err(blocked("has no leader")) };
        if !seen.quorum {
            return Err(blocked("has no majority that answers"));
        }
        if seen.joint() {
            return Err(blocked("is changing its voters"));
        }
        let voters = seen.voters();
        if voters.len() < 2 || !voters.iter().any(|v| seen.hosts.get(v) == Some(&node)) {
            continue;
        }
        let without =
            voters.iter().filter(|v| seen.hosts.get(v) != Some(&node) && observed.caught_up(group, **v)).count();
        if without * 2 <= voters.len() {
            if pair(catalogue, observed, group, &voters) {
                continue;
            }
            return Err(blocked(&format!("would keep {without} caught-up of {} voters", voters.len())));
        }
    }
    Ok(())
}

/// The system group of a cluster of two nodes, both voters caught up. It loses its majority while either of them is away,
/// whatever anybody does; to refuse would mean that such a cluster can never be rolled. With a third node the same group is
/// merely on its way to three voters, and a store group of two is always on its way: both grants wait for that.
fn pair(c: &Catalogue, o: &ClusterObservation, group: GroupId, voters: &BTreeSet<ReplicaId>) -> bool {
    group == GroupId::SYSTEM
        && voters.len() == 2
        && c.present().count() == 2
        && voters.iter().all(|v| o.caught_up(group, *v))
}
