//! May a node go away for a while? Only if every group that it serves keeps a caught-up majority without it.

use super::Observed;
use crate::{
    catalogue::{Catalogue, GroupPhase},
    ids::{GroupId, NodeId},
};

/// What forbids it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The group.
    pub group: GroupId,
    /// One sentence.
    pub sentence: String,
}

/// Checks one node. Unknown counts as no; groups of a single voter do not count, since their spec accepts the outage.
///
/// # Errors
/// The first group that forbids it.
pub fn guard(catalogue: &Catalogue, observed: &Observed, node: NodeId) -> Result<(), Blocked> {
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
            return Err(blocked(&format!("would keep {without} caught-up of {} voters", voters.len())));
        }
    }
    Ok(())
}
